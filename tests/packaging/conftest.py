"""Fixtures: the images, written twice and under other circumstances."""

import os
import shutil
import subprocess
import sys

import pytest

from oci import Layout
from processes import ROOT, binary_dir, envoy, filter_module

IMAGES = ["filter", "filter-image", "sidecar-cache", "gateway", "fake-provider"]


def build(out, programs, umask, **environment):
    """Starts `scripts/image`."""
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts/image", "--out", out], umask=umask, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "KT_BIN_DIR": str(programs), "KT_FILTER": str(filter_module()), "KT_ENVOY": str(envoy()),
             "SOURCE_DATE_EPOCH": "", **environment},
    )


@pytest.fixture(scope="session")
def twice(tmp_path_factory):
    """The folders of layouts of two builds at the same time, the second in another place, of copies of the programs, in
    another time zone and by somebody with another umask."""
    copies = tmp_path_factory.mktemp("programs")
    for name in ("kt", "sidecar-cache", "fake-provider"):
        shutil.copy(binary_dir() / name, copies / name)
    outs = [tmp_path_factory.mktemp("images") for _ in range(2)]
    started = [build(outs[0], binary_dir(), 0o022), build(outs[1], copies, 0o077, TZ="Asia/Tokyo", LANG="de_DE.UTF-8")]
    for process in started:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    return outs


@pytest.fixture(scope="session")
def layouts(twice):
    """The layouts by name. Reading them has checked digests, sizes and media types."""
    return {name: Layout(twice[0] / name) for name in IMAGES}
