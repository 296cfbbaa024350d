"""Small disks of a test's own, which can be filled."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(size_bytes):
    """The folder on which it is mounted."""
    if os.geteuid() != 0:
        pytest.fail("a small disk is mounted for this test, which only root can: run it as root, or without it by "
                    "-k 'not full_disk'")
    folder = Path(tempfile.mkdtemp(prefix="kt-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "kt-disk", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def fill(disk):
    """Takes all the room that there is."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(1 << 16))
        except OSError:
            pass
    assert shutil.disk_usage(disk).free == 0


def make_room(disk):
    """Gives back all that was taken."""
    (disk / "filler").unlink()
