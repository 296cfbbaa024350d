"""`make image`: layouts that hold, byte by byte, to the OCI image specification and to what Istio and Envoy Gateway take."""

import hashlib
import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import IMAGES
from chart import TOPOLOGIES, Rendered, example
from oci import Layout, check_image, file_of
from processes import ROOT, filter_module

RUN_BY_SOMEBODY = ["sidecar-cache", "gateway", "fake-provider"]
WASM_CONFIG = "application/vnd.module.wasm.config.v1+json"
WASM_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"


def test_the_same_programs_give_the_same_bytes(twice):
    def digests(folder):
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(folder.rglob("*")) if path.is_file()}
    first, second = map(digests, twice)
    assert first == second and len(first) > 20


@pytest.mark.parametrize("name", IMAGES)
def test_a_layout_has_one_name_and_no_blob_that_nobody_refers_to(layouts, name):
    layout = layouts[name]
    version = layout.tagged().descriptor["annotations"]["org.opencontainers.image.ref.name"]
    assert f'version = "{version}"' in (ROOT / "Cargo.toml").read_text()
    assert layout.read == {blob.name for blob in (layout.folder / "blobs/sha256").iterdir()}


@pytest.mark.parametrize("name", ["filter-image", *RUN_BY_SOMEBODY])
def test_an_image_is_what_its_configuration_says(layouts, name):
    check_image(layouts[name].tagged())


@pytest.mark.parametrize("name", ["filter-image", *RUN_BY_SOMEBODY])
def test_a_layer_is_sorted_and_says_nothing_of_where_it_was_made(layouts, name):
    image = layouts[name].tagged()
    for layer, found in zip(image.layers(), image.members):
        assert layer[4:8] == bytes(4), "gzip has a time"
        assert [it.name for it in found] == sorted({it.name for it in found})
        assert {it.mtime for it in found} == {0} and {it.uid for it in found} <= {0, 65532}
        assert all(it.uid == it.gid and not it.uname and not it.gname and not it.pax_headers for it in found)
        assert not any(it.name.startswith("/") or ".." in it.name.split("/") for it in found)


def test_the_filter_is_an_artifact_of_two_layers_of_which_one_is_the_module(layouts):
    artifact = layouts["filter"].tagged()
    types = [layer["mediaType"] for layer in artifact.fields["layers"]]
    assert sorted(types) == sorted([WASM_CONFIG, WASM_LAYER])
    assert artifact.fields["config"]["mediaType"] == WASM_CONFIG
    module = artifact.layers()[types.index(WASM_LAYER)]
    assert module == filter_module().read_bytes() and module.startswith(b"\0asm\x01\0\0\0")


def test_the_filter_is_an_image_of_one_layer_with_one_file(layouts):
    [file] = layouts["filter-image"].tagged().files
    assert (file.name, file.size) == ("plugin.wasm", filter_module().stat().st_size)


@pytest.mark.parametrize("name", RUN_BY_SOMEBODY)
def test_a_container_is_not_root_and_has_no_file_that_makes_it_so(layouts, name):
    image = layouts[name].tagged()
    config = image.config["config"]
    assert config["User"] == "65532:65532" and config["StopSignal"] == "SIGTERM"
    files = image.files
    assert config["Entrypoint"][0].lstrip("/") in {it.name for it in files}
    assert not [it.name for it in files if it.isfile() and it.mode & (stat.S_ISUID | stat.S_ISGID | 0o022)]
    writable = {it.name for it in files if it.isdir() and (it.uid or it.mode & 0o022)}
    assert writable == {"tmp", "run/kt", "var/lib/kt", "var/lib/kt/data"}
    assert not any(it.name.endswith(("/sh", "/bash", "/busybox", "/apt", "/dpkg")) for it in files if not it.isdir())


def test_only_the_gateway_has_envoy_and_curl(layouts):
    def programs(name):
        return {it.name.removeprefix("usr/bin/") for it in layouts[name].tagged().files if it.name.startswith("usr/bin/")}
    assert programs("sidecar-cache") == {"kt", "sidecar-cache"}
    assert programs("gateway") == {"kt", "sidecar-cache", "envoy", "curl"}
    assert programs("fake-provider") == {"fake-provider"}


# Megabytes, as a registry sends them: all of it, and what is beside our own programs. They are those of the tests here, which
# are not optimized; a release is smaller.
MEGABYTES_MAX = {"filter": (2.5, 0), "filter-image": (1, 0), "sidecar-cache": (50, 3), "gateway": (110, 60),
                 "fake-provider": (8, 3)}
OURS = {"usr/bin/kt", "usr/bin/sidecar-cache", "usr/bin/fake-provider", "usr/lib/kt/kt_filter.wasm", "plugin.wasm"}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_no_larger_than_what_it_is_for(layouts, name):
    image = layouts[name].tagged()
    sizes = [layer["size"] / 1e6 for layer in image.fields["layers"]]
    # The artifact has the module itself for a layer, and no files.
    of_ours = [True] * len(sizes) if name == "filter" else [bool(OURS & {it.name for it in found}) for found in image.members]
    beside = sum(size for size, is_ours in zip(sizes, of_ours) if not is_ours)
    whole_max, beside_max = MEGABYTES_MAX[name]
    assert sum(sizes) <= whole_max and beside <= beside_max, (sum(sizes), beside)


def test_images_share_the_layers_that_they_have_in_common(layouts):
    sidecar, gateway = ({layer["digest"] for layer in layouts[name].tagged().fields["layers"]}
                        for name in ("sidecar-cache", "gateway"))
    assert len(sidecar & gateway) == 2


def commands_of_manifests():
    """What containers of ours are told to run in the place of the image's own program, by the image's layout."""
    pods = [pod for topology in TOPOLOGIES for pod in Rendered(example(topology)).pods()]
    manifests = [list(yaml.safe_load_all(path.read_text())) for path in sorted(ROOT.glob("envoy/*/*.yaml"))]
    found, left = [], [*pods, *manifests]
    while left:
        it = left.pop()
        if isinstance(it, dict):
            image = re.search(r"(?:^keeptrusts|/kt)/([a-z-]+)[:@]", str(it.get("image", "")))
            if image and "command" in it:
                found.append((image[1], it["command"]))
            left += it.values()
        elif isinstance(it, list):
            left += it
    return found


def test_what_a_manifest_runs_is_in_the_image(layouts):
    found = commands_of_manifests()
    assert {name for name, _ in found} == {"gateway"}
    for name, (program, *arguments) in found:
        files = {f"/{it.name}" for it in layouts[name].tagged().files}
        assert program in files, f"the image {name} has no {program}"
        read = {it.removeprefix("file://") for it in arguments if it.startswith("file://")}
        assert read <= files, read
    assert ["file:///usr/lib/kt/kt_filter.wasm" in command for _, command in found].count(True) == 1


@pytest.mark.parametrize("name", RUN_BY_SOMEBODY)
def test_an_image_trusts_whom_debian_trusts_and_nobody_else(layouts, name):
    found = [file_of(layer, "etc/ssl/certs/ca-certificates.crt") for layer in layouts[name].tagged().layers()]
    [bundle] = filter(None, found)
    assert bundle.count("-----BEGIN CERTIFICATE-----") > 100
    for added in Path("/usr/local/share/ca-certificates").glob("**/*.crt"):
        assert added.read_text().split("\n")[1] not in bundle, "an authority of this machine's own is in an image"


@pytest.mark.parametrize("name", IMAGES)
def test_a_bill_of_materials_is_found_by_the_image_that_it_is_about(layouts, twice, name):
    layout = layouts[name]
    [referrer] = layout.referrers(layout.tagged())
    assert referrer.fields["artifactType"] == referrer.descriptor["artifactType"] == "application/vnd.cyclonedx+json"
    [content] = referrer.layers()
    assert content == (twice[0] / f"{name}.cdx.json").read_bytes()
    bill = json.loads(content)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["serialNumber"].startswith("urn:uuid:")
    references = [it["bom-ref"] for it in bill["components"]]
    assert len(references) == len(set(references))
    assert bill["dependencies"] == [{"ref": bill["metadata"]["component"]["bom-ref"], "dependsOn": sorted(references)}]
    for it in bill["components"]:
        assert {"type", "name", "version", "purl"} <= it.keys(), it


def test_a_bill_has_the_crates_as_cargo_lock_has_them(layouts, twice):
    lock = (ROOT / "Cargo.lock").read_text()
    for name, wanted in {"sidecar-cache": "hyper", "gateway": "clap", "filter": "kt-contract"}.items():
        bill = json.loads((twice[0] / f"{name}.cdx.json").read_text())
        crates = [it for it in bill["components"] if it["purl"].startswith("pkg:cargo/")]
        assert wanted in {it["name"] for it in crates}
        for it in crates:
            assert f'name = "{it["name"]}"\nversion = "{it["version"]}"\n' in lock, it
            assert all(f'checksum = "{digest["content"]}"' in lock for digest in it.get("hashes", [])), it
        # All but our own come from the registry.
        without = {it["name"] for it in crates if "hashes" not in it}
        assert without and all(word.startswith(("kt", "sidecar-cache")) for word in without), without
        assert not {"wasmtime", "proptest", "kt-tidy"} & {it["name"] for it in crates}, "what only tests need is in no image"


@pytest.mark.parametrize("name", RUN_BY_SOMEBODY)
def test_a_bill_has_every_package_that_a_library_in_the_image_is_of(layouts, twice, name):
    bill = json.loads((twice[0] / f"{name}.cdx.json").read_text())
    billed = {it["name"] for it in bill["components"] if it["purl"].startswith("pkg:deb/")}
    files = {it.name for it in layouts[name].tagged().files}
    declared = {file.rsplit("/", 1)[1] for file in files if file.startswith("var/lib/dpkg/status.d/")}
    assert billed == declared and {"libc6", "ca-certificates"} <= billed
    assert all(f"usr/share/doc/{package}/copyright" in files for package in billed)


def test_a_layout_with_a_flipped_bit_is_not_believed(twice, tmp_path):
    copy = tmp_path / "filter-image"
    shutil.copytree(twice[0] / "filter-image", copy)
    [layer] = Layout(copy).tagged().fields["layers"]
    blob = copy / "blobs/sha256" / layer["digest"].removeprefix("sha256:")
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(AssertionError):
        Layout(copy)


def test_what_is_missing_is_said_with_what_to_do(tmp_path):
    refused = subprocess.run([sys.executable, ROOT / "scripts/image", "--out", tmp_path / "out", "filter"],
                             capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "KT_BIN_DIR": str(tmp_path)})
    assert refused.returncode == 1 and "make build" in refused.stderr and "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()
