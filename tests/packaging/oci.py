"""Reads OCI image layouts as the specification has them, and trusts nothing: every digest and size is computed again.

https://github.com/opencontainers/image-spec/tree/v1.1.1
"""

import functools
import gzip
import hashlib
import io
import json
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
MEDIA_TYPE = re.compile(r"[a-z]+/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(eq=False)
class Manifest:
    """A manifest, its descriptor in the index, and its layout."""

    layout: "Layout"
    descriptor: dict
    fields: dict

    @property
    def config(self):
        return json.loads(self.layout.blob(self.fields["config"]))

    def layers(self):
        return [self.layout.blob(layer) for layer in self.fields["layers"]]

    @functools.cached_property
    def members(self):
        """What is in each layer, in its order."""
        found = []
        for layer in self.layers():
            with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as archive:
                found.append(archive.getmembers())
        return found

    @property
    def files(self):
        return [it for layer in self.members for it in layer]


class Layout:
    """One layout. Reading it checks it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.read = set()
        assert json.loads((self.folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
        index = json.loads((self.folder / "index.json").read_text())
        assert (index["schemaVersion"], index["mediaType"]) == (2, INDEX)
        self.manifests = [self._manifest(descriptor) for descriptor in index["manifests"]]

    def blob(self, descriptor):
        """What a descriptor names, and only if it is just that."""
        assert {"mediaType", "digest", "size"} <= descriptor.keys(), descriptor
        assert MEDIA_TYPE.fullmatch(descriptor["mediaType"]), descriptor
        assert DIGEST.fullmatch(descriptor["digest"]), descriptor
        name = descriptor["digest"].removeprefix("sha256:")
        content = (self.folder / "blobs/sha256" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == name
        assert len(content) == descriptor["size"]
        self.read.add(name)
        return content

    def _manifest(self, descriptor):
        assert descriptor["mediaType"] == MANIFEST
        fields = json.loads(self.blob(descriptor))
        assert (fields["schemaVersion"], fields["mediaType"]) == (2, MANIFEST)
        assert {"config", "layers"} <= fields.keys() and fields["layers"], fields
        for part in [fields["config"], *fields["layers"], *([fields["subject"]] if "subject" in fields else [])]:
            self.blob(part)
        # Where the configuration is none, the manifest has to say what it is.
        assert fields["config"]["mediaType"] != EMPTY or fields["artifactType"], fields
        assert all(isinstance(value, str) for value in fields.get("annotations", {}).values())
        return Manifest(self, descriptor, fields)

    def tagged(self):
        """The one manifest that has a name."""
        name = "org.opencontainers.image.ref.name"
        [found] = [it for it in self.manifests if name in it.descriptor.get("annotations", {})]
        return found

    def referrers(self, subject):
        digest = subject.descriptor["digest"]
        return [it for it in self.manifests if it.fields.get("subject", {}).get("digest") == digest]


def check_image(image):
    """That a manifest is one of an image whose layers are what its configuration says."""
    assert image.fields["config"]["mediaType"] == CONFIG
    assert all(layer["mediaType"] == LAYER for layer in image.fields["layers"]), image.fields
    config = image.config
    assert config["os"] == "linux" and config["architecture"] in ("amd64", "arm64"), config
    assert MOMENT.fullmatch(config["created"]), config
    assert image.descriptor["platform"] == {"os": config["os"], "architecture": config["architecture"]}
    diff_ids = [f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}" for layer in image.layers()]
    assert config["rootfs"] == {"type": "layers", "diff_ids": diff_ids}
    assert len([it for it in config["history"] if not it.get("empty_layer")]) == len(diff_ids)


def file_of(layer, name):
    """The text of a file in a layer; None where there is none."""
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as archive:
        return archive.extractfile(name).read().decode() if name in archive.getnames() else None


def unpack(image, folder):
    """Lays the layers upon each other. None has whiteouts, so that each only adds."""
    folder.mkdir(parents=True)
    # Where the folder says its own last word: 3.12 has filters, which refuse nothing here, and warns without one.
    trusted = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    for layer in image.layers():
        with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as archive:
            archive.extractall(folder, numeric_owner=True, **trusted)
