"""An OCI image layout: a folder of blobs by their digests, with an index of what is in it.

https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

import hashlib
import json
import shutil
from pathlib import Path

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"


class Layout:
    """One layout that is being written. What lay in its folder before is gone."""

    def __init__(self, folder):
        self.folder = Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._blobs = self.folder / "blobs/sha256"
        self._blobs.mkdir(parents=True)
        self._manifests = []

    def blob(self, media_type, content):
        """Keeps these bytes and returns their descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self._blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def layer(self, tree):
        """Keeps a tree as a layer and returns its descriptor and its `diff_id`."""
        draft = self._blobs / "draft"
        diff_id = tree.layer(draft)
        with draft.open("rb") as packed:
            digest = hashlib.file_digest(packed, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
                else hashlib.sha256(packed.read()).hexdigest()
        size = draft.stat().st_size
        draft.rename(self._blobs / digest)
        return {"mediaType": LAYER, "digest": f"sha256:{digest}", "size": size}, diff_id

    def image(self, config, layers, tag, annotations):
        """An image of these named trees, bottom first. Returns its descriptor."""
        packed = [(name, *self.layer(tree)) for name, tree in layers]
        config = {
            **config,
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, _, diff_id in packed]},
            "history": [{"created": config["created"], "created_by": f"kt: {name}"} for name, _, _ in packed],
        }
        return self.manifest({
            "config": self.blob(CONFIG, as_json(config)),
            "layers": [descriptor for _, descriptor, _ in packed],
            "annotations": annotations,
        }, tag, {"architecture": config["architecture"], "os": config["os"]})

    def manifest(self, fields, tag=None, platform=None):
        """Keeps a manifest; with a tag it is what this name stands for, without one it only refers to another."""
        content = as_json({"schemaVersion": 2, "mediaType": MANIFEST, **fields})
        descriptor = self.blob(MANIFEST, content)
        listed = {
            **descriptor,
            **({"artifactType": fields["artifactType"]} if "artifactType" in fields else {}),
            **({"platform": platform} if platform else {}),
            **({"annotations": {REF_NAME: tag}} if tag else {}),
        }
        self._manifests.append(listed)
        return descriptor

    def referrer(self, subject, artifact_type, content, annotations):
        """Something that is said about an image of this layout and is found by it: its bill of materials."""
        return self.manifest({
            "artifactType": artifact_type,
            "config": self.blob(EMPTY, b"{}"),
            "layers": [self.blob(artifact_type, content)],
            "subject": subject,
            "annotations": annotations,
        })

    def finish(self):
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self._manifests}
        (self.folder / "index.json").write_bytes(as_json(index))
        (self.folder / "oci-layout").write_bytes(as_json({"imageLayoutVersion": "1.0.0"}))


def as_json(value):
    """The one spelling of a value: a digest stands on it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
