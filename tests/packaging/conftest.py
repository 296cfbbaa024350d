"""Fixtures: the images, written twice and under other circumstances, and what runs of them."""

import functools
import os
import shutil
import subprocess
import sys

import pytest

from containers import Root, volume
from database import Database
from oci import Layout
from processes import ROOT, binary_dir, envoy, filter_module, wait_until
from servers import Redis
from started import Started

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


@pytest.fixture(scope="session")
def root(layouts, tmp_path_factory):
    """The root of an image, unpacked once: nobody can write to it."""
    folder = tmp_path_factory.mktemp("roots")
    return functools.cache(lambda image: Root(layouts[image].tagged(), folder / image))


@pytest.fixture
def started(root, tmp_path):
    with Started(root, tmp_path) as started:
        yield started


@pytest.fixture
def stores(tmp_path):
    """The addresses of a Redis and of a Postgres without tables, by the variables that the chart's examples have for them."""
    redis = Redis(volume(tmp_path / "redis"))
    with Database(is_migrated=False) as database:
        redis.process.start()
        try:
            wait_until(lambda: redis.run("PING") == "PONG", "Redis answers")
            yield {"KT_REDIS_URL": f"redis://127.0.0.1:{redis.port}", "KT_DATABASE_URL": database.url}
        finally:
            redis.end()
