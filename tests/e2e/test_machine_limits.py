"""A machine under the sidecar that has next to nothing: a twentieth of a CPU, or little memory for large bodies."""

import contextlib
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import Group, chat
from processes import wait_until
from wallet import Paying

# Far above all budgets, far below what a hang takes; and what a busy machine may add.
BOUND_S = 10.0 + 20.0
# All bodies together, and one of them.
BODIES_BYTES, LARGE_BYTES = 64 << 20, 7 << 20
# What a sidecar takes beside: itself, and what comes on its sockets until it is read.
BESIDE_BYTES = 64 << 20
# Lets a process have a twentieth of a CPU in every 100 ms, as a group with a quota has, until nobody wants that any more.
STARVE = """
import os, select, signal, sys

def is_over(after_s):
    return select.select([sys.stdin], [], [], after_s)[0]

pid, runs_s = int(sys.argv[1]), 0.005 / os.cpu_count()
while not is_over(runs_s):
    os.kill(pid, signal.SIGSTOP)
    try:
        is_over(0.1 - runs_s)
    finally:
        os.kill(pid, signal.SIGCONT)
"""


@contextlib.contextmanager
def starved(process):
    """It has a twentieth of a CPU."""
    starving = subprocess.Popen([sys.executable, "-c", STARVE, str(process.pid)], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        starving.stdin.close()
        assert starving.wait(10) == 0


def words(answer):
    """What the provider has said."""
    return answer.json()["choices"][0]["message"]["content"]


@pytest.mark.fault(36)
def test_with_next_to_no_cpu_what_is_checked_is_checked_and_everything_ends_in_time(crowd, prompt):
    # Its budget is an operator's: who waits longer for such a sidecar is refused less, and later.
    with Paying({"gateway": {"admit_timeout_ms": 300}}) as group:
        wallet = group.wallet(100_000_000)
        key, revoked, poor = wallet.key(), wallet.key(), group.wallet().key()
        paid = assert_miss(group.a.ask(key, prompt))
        assert_hit(group.a.ask(revoked, prompt), of=paid)
        group.sidecar.revoke(revoked)
        for gateway in group.gateways:
            wait_until(lambda: gateway.ask(revoked, prompt).status == 401, "the revocation is known")
        prompts = [f"{prompt} {number}" for number in range(100)]
        expected = {key: 200, revoked: 401, poor: 402}
        with starved(group.sidecar.process):
            since = time.monotonic()
            lives = [(who, question, crowd.one(group.gateways[nth % 2], who, chat(question)))
                     for nth, question in enumerate(prompts) for who in (key, revoked, poor)]
            answers = [(who, question, live.whole()) for who, question, live in lives]
            assert max(live.ended_at for *_, live in lives) - since < BOUND_S
            # Whom it had no time for in that crowd, it has some for alone.
            for who, status in expected.items():
                while not any(answer.status == status for of, _, answer in answers if of is who):
                    question = f"{prompt} {len(answers)}, alone"
                    answers.append((who, question, group.a.ask(who, question)))
                    assert time.monotonic() - since < 3 * BOUND_S, (status, answers)
        for who, question, answer in answers:
            assert answer.broke is None, answer
            if answer.status == 503:
                assert int(answer.headers["retry-after"]) > 0, answer
            else:
                assert answer.status == expected[who], answer
        for gateway in group.gateways:
            wait_until(lambda: gateway.ask(key, f"{prompt} Again, {gateway.id}?").status == 200, "all is well again")
        for who, question, answer in answers:
            if answer.status == 200:
                assert words(group.a.ask(key, question)) == words(answer), "a wrong answer"
        group.provider.wait_idle()
        wait_until(lambda: wallet.pending == 0, "no money is set aside any more")
        assert wallet.audit()["breaches_total"] == 0
        assert len(wallet.charges()) == group.provider.total()


def peak_bytes(process):
    """The most memory that it has ever had."""
    told = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", told)[1]) << 10


@pytest.mark.fault(35)
def test_many_large_bodies_at_once_are_shed_and_neither_memory_nor_anybody_else_suffers(crowd, prompt):
    with Group({"workflow_cache": {"max_bodies_bytes": BODIES_BYTES}}) as group:
        key, pid, gate = group.key(), group.sidecar.process.pid, prompt[8:16]
        # More cannot be had: a process that needs it dies.
        limit = peak_bytes(group.sidecar.process) + BODIES_BYTES + BESIDE_BYTES
        mapped = int(Path(f"/proc/{pid}/statm").read_text().split()[5]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_DATA, (mapped + BODIES_BYTES + BESIDE_BYTES,) * 2)
        filler = "x " * (LARGE_BYTES // 2)
        lives = [crowd.one(group.gateways[nth % 2], key, chat(f"{prompt} {nth} [[fake: gate={gate}]] {filler}"))
                 for nth in range(24)]

        def is_decided():
            calls = group.provider.calls()["running"].values()
            return sum(call["gate"] == gate for call in calls) + sum(live.ended for live in lives) == len(lives)
        wait_until(is_decided, "each has come to the provider or is refused", 60)
        served = [live for live in lives if not live.ended]
        shed = [live.whole() for live in lives if live.ended]
        for answer in shed:
            assert_refused(answer, 503, "bodies_full")
            assert int(answer.headers["retry-after"]) > 0
        # There is room for others.
        assert_miss(group.a.ask(key, prompt))
        group.provider.release(gate)
        answers = [live.whole() for live in served]
        # On a busy machine so long a body may outlast the budget for asking the sidecar; then it goes the direct lane, and
        # takes no room here.
        by_lane = [assert_miss(answer) for answer in answers if answer.cache_status != "bypass"]
        direct = [answer for answer in answers if answer.cache_status == "bypass"]
        assert {answer.status for answer in direct} <= {200}, direct
        assert len(by_lane) == min(BODIES_BYTES // LARGE_BYTES, len(lives) - len(direct)), (len(shed), direct)
        wait_until(lambda: group.sidecar.gauge("kt_request_body_bytes") == 0, "nothing is kept any more")
        assert group.b.ask(key, f"{prompt} Again? {filler}").status == 200
        assert group.sidecar.process.pid == pid and group.sidecar.process.is_alive()
        assert peak_bytes(group.sidecar.process) < limit
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id
