"""Bills of materials in CycloneDX 1.6: the crates of a program, and the packages of Debian beside it.

https://cyclonedx.org/docs/1.6/json/
"""

import hashlib
import json
import os
import re
import subprocess
import uuid
from datetime import datetime, timezone
from pathlib import Path

from .failure import Failure

MEDIA_TYPE = "application/vnd.cyclonedx+json"
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def crates(root, package, target):
    """The crates that one package of the workspace is built from, with what Cargo.lock has of them."""
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "tree", "--locked", "--package", package, "--edges", "normal", "--target", target,
               "--prefix", "none", "--format", "{p}|{l}"]
    try:
        tree = subprocess.run(command, cwd=root, capture_output=True, text=True)
    except OSError as error:
        raise Failure(f"cannot run {cargo}, which knows what a program is built from: {error}") from error
    if tree.returncode:
        raise Failure(f"{' '.join(command)}: {tree.stderr.strip()}")
    sums = checksums(root / "Cargo.lock")
    found = {}
    for line in tree.stdout.splitlines():
        match = re.match(r"(\S+) v(\S+?)(?: \([^)]*\))* *(?:\(\*\))?\|(.*?)(?: \(\*\))?$", line)
        if match:
            name, version, license_ = match.groups()
            found[name, version] = crate(name, version, license_, sums.get((name, version)))
    return [found[key] for key in sorted(found)]


def crate(name, version, license_, checksum):
    return {
        "type": "library", "bom-ref": f"pkg:cargo/{name}@{version}", "name": name, "version": version,
        "purl": f"pkg:cargo/{name}@{version}",
        # "MIT/Apache-2.0" is how it was written before there were expressions.
        **({"licenses": [{"expression": license_.replace("/", " OR ")}]} if license_ else {}),
        **({"hashes": [{"alg": "SHA-256", "content": checksum}]} if checksum else {}),
    }


def checksums(lock):
    """The digests of the crates from crates.io, by name and version. Python 3.9 and 3.10 have no reader of TOML."""
    found = {}
    for block in lock.read_text().split("[[package]]")[1:]:
        fields = dict(re.findall(r'^(name|version|source|checksum) = "(.*)"$', block, re.MULTILINE))
        if fields.get("source") == REGISTRY:
            found[fields["name"], fields["version"]] = fields["checksum"]
    return found


def package(it):
    """A package of Debian."""
    return {"type": "library", "bom-ref": it.purl, "name": it.name, "version": it.version, "purl": it.purl}


def program(name, version, purl, path):
    """A program that is taken as it is."""
    return {
        "type": "application", "bom-ref": purl, "name": name, "version": version, "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(Path(path).read_bytes()).hexdigest()}],
    }


def bill(name, version, components, epoch):
    """The bill of an image. The same components give the same bytes."""
    # The same package may come with two programs.
    components = list({component["bom-ref"]: component for component in components}.values())
    moment = datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    content = json.dumps(components, sort_keys=True)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"{name}@{version}#{content}").urn,
        "version": 1,
        "metadata": {
            "timestamp": moment,
            "component": {"type": "container", "bom-ref": name, "name": name, "version": version},
        },
        "components": components,
        "dependencies": [{"ref": name, "dependsOn": sorted(component["bom-ref"] for component in components)}],
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
