"""What is acknowledged was synced before: seen by the system calls of the sidecar itself, on any disk."""

import re
import shutil

import pytest

from answers import assert_miss
from processes import Process, wait_until
from wallet import Paying

FUNDED, CALLED = 20, 20
CALLS = "fsync,fdatasync,write,writev,sendto,sendmsg"
# A call that other threads' calls interrupt stands on two lines.
LINE = re.compile(r"^(?P<thread>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)$")


@pytest.fixture
def traced():
    """A group whose sidecar runs under strace, and where its system calls stand."""
    if not shutil.which("strace"):
        pytest.fail("no strace, which tells what the sidecar asks of the system: apt-get install strace")
    with Paying() as group:
        group.sidecar.process.terminate()
        calls = group.folder / "calls"
        watched = ["strace", "-f", "-y", "-s", "2048", "-e", f"trace={CALLS}", "-o", calls]
        group.sidecar.process = Process("sidecar-cache", watched + group.sidecar.process.argv, group.sidecar.process.log)
        group.start_sidecar()
        yield group, calls


def what_happened(calls, signs):
    """In order: `synced` where a sync of the wallet has come back, and the word of each sign where it goes out."""
    waiting = {}
    lines = calls.read_text(errors="replace").splitlines()
    for line in lines:
        if not (call := LINE.match(line)):
            continue
        name, rest = call["resumed"] or call["name"], call["rest"]
        if name in ("fsync", "fdatasync"):
            on = waiting.pop(call["thread"], rest) if call["resumed"] else rest
            if rest.endswith("<unfinished ...>"):
                waiting[call["thread"]] = rest
            elif "/wallet.db" in on and rest.endswith("= 0"):
                yield "synced"
        elif call["name"] and "<socket:" in rest:
            yield from (word for sign, word in signs.items() if sign in rest)


def letters(happened):
    """The same as a word: the first letter of each."""
    return "".join(what[0] for what in happened)


def test_each_acknowledgement_has_a_sync_before_it(traced):
    group, calls = traced
    wallet = group.wallet()
    for _ in range(FUNDED):
        wallet.fund(1)
    assert wallet.available == FUNDED

    def told():
        return list(what_happened(calls, {r'\"created\":true': "told"}))
    wait_until(lambda: told().count("told") == FUNDED, "all of it is written down")
    # Between two of them, and before the first, at least one.
    assert re.fullmatch(r"(s+t)+s*", letters(told())), letters(told())


@pytest.mark.parametrize("stream, end", [(True, r"data: [DONE]\n\n"), (False, "chat.completion")], ids=["stream", "json"])
def test_a_call_is_made_after_the_sync_of_its_hold_and_its_answer_ends_after_the_sync_of_its_end(traced, prompt, stream,
                                                                                                end):
    group, calls = traced
    wallet = group.wallet(1_000_000)
    key = wallet.key()
    wait_until(lambda: group.a.ask(key, "anything").status == 200, "the group serves again")
    before = wallet.rows()["post"]
    for nth in range(CALLED):
        assert_miss(group.a.ask(key, f"{prompt} {nth:02}", stream=stream))
    assert wallet.rows() == {"pending": before + CALLED, "post": before + CALLED}

    def happened():
        """From the first of these calls on: asked of the provider, and at its end told to the client."""
        all_of_it = list(what_happened(calls, {prompt: "asked", end: "told"}))
        first = next((nth for nth, what in enumerate(all_of_it) if what == "asked"), 0)
        # The sync of its hold is the last before it.
        return all_of_it[max(0, first - 1):]
    wait_until(lambda: happened().count("told") == CALLED, "all of it is written down")
    assert re.fullmatch(rf"(s+as+t){{{CALLED}}}s*", letters(happened())), letters(happened())
