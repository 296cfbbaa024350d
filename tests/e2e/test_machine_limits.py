"""A machine under the sidecar that has next to nothing: a twentieth of a CPU, or little memory for large bodies."""

import contextlib
import subprocess
import sys
import time

import pytest

from answers import assert_hit, assert_miss
from group import chat
from processes import wait_until
from wallet import Paying

# Far above all budgets, far below what a hang takes.
BOUND_S = 10.0
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
    with Paying() as group:
        wallet = group.wallet(100_000_000)
        key, revoked, poor = wallet.key(), wallet.key(), group.wallet().key()
        paid = assert_miss(group.a.ask(key, prompt))
        assert_hit(group.a.ask(revoked, prompt), of=paid)
        group.sidecar.revoke(revoked)
        for gateway in group.gateways:
            wait_until(lambda: gateway.ask(revoked, prompt).status == 401, "the revocation is known")
        prompts = [f"{prompt} {number}" for number in range(100)]
        with starved(group.sidecar.process):
            since = time.monotonic()
            lives = [(who, question, crowd.one(group.gateways[nth % 2], who, chat(question)))
                     for nth, question in enumerate(prompts) for who in (key, revoked, poor)]
            answers = [(who, question, live.whole()) for who, question, live in lives]
            assert max(live.ended_at for *_, live in lives) - since < BOUND_S
        expected = {key: 200, revoked: 401, poor: 402}
        for who, question, answer in answers:
            assert answer.broke is None, answer
            if answer.status == 503:
                assert int(answer.headers["retry-after"]) > 0, answer
            else:
                assert answer.status == expected[who], answer
        for who, status in expected.items():
            assert any(answer.status == status for of, _, answer in answers if of is who), (status, answers)
        for gateway in group.gateways:
            wait_until(lambda: gateway.ask(key, f"{prompt} Again, {gateway.id}?").status == 200, "all is well again")
        for who, question, answer in answers:
            if answer.status == 200:
                assert words(group.a.ask(key, question)) == words(answer), "a wrong answer"
        group.provider.wait_idle()
        assert wallet.pending == 0 and wallet.audit()["breaches_total"] == 0
        assert len(wallet.charges()) == group.provider.total()
