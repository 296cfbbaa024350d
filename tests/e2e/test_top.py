"""`kt top` at a real group: on a terminal, into a pipe, once, and while the sidecar is away."""

import os
import pty
import select
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from answers import assert_hit, assert_miss
from group import DEADLINE_S, Group, environment
from processes import Process, binary_dir, wait_until


# The cursor, and the page that was there before.
LEFT = b"\x1b[?25h\x1b[?1049l"


@pytest.fixture(scope="module")
def group():
    with Group() as group:
        yield group


def arguments(group, *more):
    return [binary_dir() / "kt", "top", "--sidecar", group.sidecar.socket,
            "--metrics", f"127.0.0.1:{group.sidecar.port}", *more]


def test_one_frame_has_the_groups_numbers(group, prompt):
    key = group.key(org="acme")
    paid = assert_miss(group.a.ask(key, prompt))
    assert_hit(group.b.ask(key, prompt), of=paid)
    text = group.kt(*arguments(group, "--once", "--interval", "0.1")[1:]).stdout
    assert "50.0 % since the start (1 of 2 lookups)" in text, text
    for word in ["requests", "flights", "0 live with 0 followers", "calls cost $0.000", "2 live, 0 lost, 0 behind", "gw-a", "gw-b"]:
        assert word in text, text
    assert "\x1b" not in text
    without = group.kt("top", "--once", "--interval", "0.1").stdout
    assert "lookups" in without and "--metrics" in without, without


def test_leaders_followers_and_gateways_are_seen_while_a_flight_lasts(group, prompt):
    key, gate = group.key(org="acme"), f"top-{prompt[8:16]}"
    with ThreadPoolExecutor(2) as pool:
        asked = f"{prompt} [[fake: gate={gate}@each]]"
        answers = [pool.submit(group.a.ask, key, asked)]
        try:
            group.provider.wait_at(gate)
            answers.append(pool.submit(group.b.ask, key, asked))
            group.sidecar.wait_followers(1)
            text = group.kt(*arguments(group, "--once", "--interval", "0.1")[1:]).stdout
            assert "1 live with 1 followers" in text, text
        finally:
            group.provider.release(gate)
        assert all(answer.result().status == 200 for answer in answers)


def test_a_pipe_gets_frames_one_after_the_other_and_an_interrupt_ends_it_well(group):
    top = Process("top", arguments(group, "--interval", "0.1"), group.folder / "top.log", env=environment())
    top.start()
    wait_until(lambda: top.log.read_text().count("kt top ") >= 3, "three frames were printed")
    assert "\x1b" not in top.log.read_text()
    top.signal(signal.SIGINT)
    assert top.wait() == 0


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGQUIT])
def test_a_terminal_gets_its_page_back(group, end):
    ours, theirs = pty.openpty()
    top = subprocess.Popen([str(part) for part in arguments(group, "--interval", "0.1")], stdin=theirs, stdout=theirs,
                           start_new_session=True)
    os.close(theirs)
    seen = b""

    def read():
        nonlocal seen
        if select.select([ours], [], [], DEADLINE_S)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # The other end is closed.
                return False
            return True
        return False
    try:
        while seen.count(b"kt top ") < 3 and read():
            pass
        assert seen.startswith(b"\x1b[?1049h\x1b[?25l") and seen.count(b"\x1b[H") >= 3, seen
        top.send_signal(signal.SIGTSTP)
        while not seen.endswith(LEFT) and seen.count(b"kt top ") < 50 and read():
            pass
        assert seen.endswith(LEFT), seen[-200:]
        _, state = os.waitpid(top.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(state), state
        seen = b""
        top.send_signal(signal.SIGCONT)
        while seen.count(b"kt top ") < 1 and read():
            pass
        assert seen.startswith(b"\x1b[?1049h\x1b[?25l"), seen
        top.send_signal(end)
        assert top.wait(DEADLINE_S) == 0
        while read():
            pass
        assert seen.endswith(LEFT), seen[-200:]
    finally:
        top.kill()
        top.wait()
        os.close(ours)


def test_a_sidecar_that_is_away_is_told_and_waited_for(group):
    top = Process("top", arguments(group, "--interval", "0.1"), group.folder / "lost.log", env=environment())
    top.start()
    try:
        def frames():
            return [f"kt top {frame}" for frame in top.log.read_text().split("kt top ")[1:]]
        wait_until(lambda: frames() and "is ok" in frames()[-1], "a frame was printed")
        group.sidecar.process.kill()
        wait_until(lambda: "SIDECAR LOST" in frames()[-1], "the loss is told")
        group.sidecar.restart()
        wait_until(lambda: "SIDECAR LOST" not in frames()[-1] and "is ok" in frames()[-1], "it is there again")
    finally:
        top.kill()
    refused = group.kt("top", "--once", "--sidecar", group.folder / "none.sock", check=False)
    assert refused.returncode == 1 and "no sidecar answers" in refused.stderr, refused
