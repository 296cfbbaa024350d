"""What the examples' `run` share (examples/common.sh), at moments that a run meets by chance."""

import os
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from processes import ROOT

# A debugging trap is run before each command: here, Ctrl-C comes right before the one that is named.
SCRIPT = """
set -euo pipefail
SAYS=test RUN=$1 MOMENT=$2
. examples/common.sh
set -T
trap 'case $BASH_COMMAND in "$MOMENT"*) trap - DEBUG; kill -INT $$;; esac' DEBUG
start first 'a child' sleep "$3"
start second 'another' sleep "$3"
watch
"""


def anybody_with(word):
    """Whether a process runs that has this among its arguments."""
    for args in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in args.read_bytes():
                return True
        except OSError:  # it has just ended
            continue
    return False


@pytest.mark.parametrize("moment", ["starting=$name", "setsid", "children+=", "names+=", "watch"])
def test_ctrl_c_at_any_step_of_a_child_s_start_leaves_nothing(tmp_path, moment):
    # A time that is nobody else's.
    seconds = f"1000.{uuid.uuid4().int}"
    ended = subprocess.run(["bash", "-c", SCRIPT, "run", tmp_path, moment, seconds], cwd=ROOT, timeout=60,
                           capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.splitlines()[-1], ended.stderr) == (0, "stopping", "")
    assert not anybody_with(seconds)


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def checked(port, path=os.environ["PATH"]):
    """What is said of a port that `free` does not find free."""
    script = "set -euo pipefail\nSAYS=test RUN=$1\n. examples/common.sh\nPATH=$3\nfree $2 'the cache'\n"
    ended = subprocess.run(["bash", "-c", script, "run", ROOT, str(port), path], cwd=ROOT, timeout=60,
                           capture_output=True, text=True)
    assert ended.returncode == 1 and not ended.stdout, ended
    return ended.stderr


def test_of_a_port_that_cannot_be_had_it_is_said_why_and_who_has_it(taken):
    said = checked(taken)
    assert said.startswith(f"test: port {taken} (the cache) cannot be had: Address already in use; ss says of it: "), said
    assert "LISTEN" in said and f"pid={os.getpid()}," in said, said


def test_a_port_that_cannot_be_checked_is_not_said_to_be_in_use(taken, tmp_path):
    said = checked(taken, path=str(tmp_path))
    assert "python3: command not found" in said and "in use" not in said, said
