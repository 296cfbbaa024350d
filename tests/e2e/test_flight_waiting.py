"""How long requests wait for another's call, how many may, and what a call that takes its time does to them."""

import time

import pytest

from answers import assert_coalesced, assert_cut_off, assert_hit, assert_miss, assert_refused
from group import FOUR, Group, chat
from processes import wait_until

HASTE_MS = 1500
SHAPES = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])


@pytest.fixture(scope="module")
def hasty():
    """A group whose waiters lose patience at once."""
    with Group({"workflow_cache": {"single_flight_timeout_ms": HASTE_MS}}) as group:
        yield group


@SHAPES
def test_of_those_who_have_waited_too_long_one_calls_and_the_others_wait_on(hasty, crowd, prompt, stream):
    key, gate = hasty.key(org="acme"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}]]", stream=stream)
    lives = crowd.ask(hasty.gateways, key, body, count=201)
    asked_at = time.monotonic()
    hasty.provider.wait_at(gate, 2)
    hasty.sidecar.wait_followers(199)
    wait_until(lambda: time.monotonic() - asked_at > 2.5 * HASTE_MS / 1000, "everybody has waited too long twice")
    assert hasty.provider.calls_of(prompt)["total"] == 2
    hasty.provider.release(gate)
    answers = [live.whole() for live in lives]
    outcomes = [answer.outcome for answer in answers]
    assert (outcomes.count(("miss", "request")), outcomes.count(("miss", "overflow"))) == (1, 1), outcomes
    lead, = (answer for answer in answers if answer.outcome == ("miss", "request"))
    for answer in answers:
        if answer.cache_status == "coalesced":
            assert_coalesced(answer, of=lead)
    assert hasty.provider.calls_of(prompt) == {"total": 2, "open": 0, "by_outcome": {"ok": 2}}
    assert_hit(hasty.b.ask(key, body), of=lead)


def test_the_literal_rule_lets_everyone_call_who_has_waited_too_long(crowd, prompt):
    with Group({"workflow_cache": {
        "single_flight_timeout_ms": HASTE_MS, "single_flight_overflow": "unlimited",
    }}) as group:
        key, gate = group.key(org="acme"), prompt[8:16]
        body = chat(f"{prompt} [[fake: gate={gate}]]")
        lives = crowd.ask(group.gateways, key, body, count=20)
        group.provider.wait_at(gate, 20)
        group.provider.release(gate)
        details = [assert_miss(live.whole()).detail for live in lives]
        assert sorted(details) == ["overflow"] * 19 + ["request"]


def test_who_has_a_byte_waits_for_the_rest_however_long_it_takes(hasty, crowd, prompt):
    key, gate = hasty.key(org="acme"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}@event:3]]", stream=True)
    lead = crowd.one(hasty.a, key, body)
    # Whoever comes now has something at once, however busy the machine is.
    lead.wait_events(3)
    lives = [lead, *crowd.ask(hasty.gateways, key, body, count=19)]
    for live in lives:
        live.wait_events(3)
    at = time.monotonic()
    wait_until(lambda: time.monotonic() - at > 1.5 * HASTE_MS / 1000, "everybody has waited too long")
    assert hasty.provider.calls_of(prompt)["total"] == 1
    hasty.provider.release(gate)
    assert len({live.whole().id for live in lives}) == 1


def test_more_than_a_thousand_waiters_for_one_call_are_too_many(four, crowd, prompt):
    key, gate = four.key(org="acme"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    lead = crowd.one(four.a, key, body)
    four.provider.wait_at(gate)
    followers = crowd.ask(four.gateways, key, body, count=1000)
    four.sidecar.wait_followers(1000)
    refused = four.b.ask(key, body)
    assert_refused(refused, 503)
    assert refused.headers["retry-after"] == "1"
    four.provider.release(gate)
    paid = assert_miss(lead.whole())
    for follower in followers:
        assert_coalesced(follower.whole(), of=paid)
    assert four.provider.calls_of(prompt)["total"] == 1


class Slow:
    """A flight whose provider takes its time, and those who wait for it."""

    def __init__(self, crowd, group, prompt, fake, waiters=200, **fields):
        self.group, self.prompt, self.key = group, prompt, group.key(org="acme")
        # Only the first call is slow.
        group.provider.script(fake, 1, prompt=prompt)
        self.body = chat(prompt, **fields)
        self.lead = crowd.one(group.a, self.key, self.body)
        wait_until(lambda: self.calls()["total"] == 1, "the provider is asked")
        self.waiting = crowd.ask(group.gateways, self.key, self.body, count=waiters)

    def calls(self):
        return self.group.provider.calls_of(self.prompt)

    def assert_paid_once(self):
        paid = assert_miss(self.lead.whole())
        for live in self.waiting:
            assert_coalesced(live.whole(), of=paid)
        assert self.calls() == {"total": 1, "open": 0, "by_outcome": {"ok": 1}}
        assert_hit(self.group.b.ask(self.key, self.body), of=paid)


def test_a_slow_provider_is_paid_once_and_a_silent_stream_is_given_up(crowd, prompt):
    """All at once, since each takes its minute."""
    with Group({"workflow_cache": {"single_flight_timeout_ms": 120_000}}, gateways=FOUR) as group:
        silence = f"{prompt[8:16]}-silence"
        to_first_byte = Slow(crowd, group, f"{prompt} first byte", "ttfb_ms=60000")
        streaming = Slow(crowd, group, f"{prompt} streaming", "words=40, delta_ms=1000", stream=True)
        # A stream that has not begun is a slow provider too.
        not_begun = Slow(crowd, group, f"{prompt} not begun", f"gate={silence}@start", stream=True)
        # Silent for a minute behind its first event, and then it would go on.
        silent = Slow(crowd, group, f"{prompt} silent", "delta_ms=60000", stream=True)
        for live in (silent.lead, *silent.waiting):
            live.wait_events(1)
        # Not when the last of two hundred has it, which takes its time on a busy machine.
        silent_since = silent.lead.began_at
        without_a_byte = crowd.ask(group.gateways, silent.key, chat(silent.prompt), count=8)

        for live in (silent.lead, *silent.waiting):
            assert_cut_off(live.whole())
            # Not before half a minute of silence, and long before the provider would have gone on.
            assert 25 < live.ended_at - silent_since < 50, live
        paid = {live.whole().id for live in without_a_byte}
        assert len(paid) == 1
        assert silent.calls()["total"] == 2
        assert {group.b.ask(silent.key, silent.body).id} == paid

        streaming.assert_paid_once()
        to_first_byte.assert_paid_once()
        group.provider.release(silence)
        not_begun.assert_paid_once()
        # The provider goes on after its minute, and finds that nobody is there.
        told = {"total": 2, "open": 0, "by_outcome": {"client_left": 1, "ok": 1}}
        wait_until(lambda: silent.calls() == told, "the silent call has ended")


# Three times as long is enough for all of them to arrive before the last call is given up, on a busy machine too.
PATIENCE_MS = 6000


@pytest.mark.fault(39)
def test_a_provider_that_never_answers_is_asked_three_times_and_then_everybody_is_told_at_once(edited, crowd, prompt):
    """In every shape at once, since each takes three times the target's patience; which is put in force live."""
    targets = [{**target, "first_byte_timeout_ms": PATIENCE_MS} for target in edited.targets()]
    edited.configure({"providers": {"targets": targets}})
    try:
        key, asked = edited.key(org="acme"), {}
        for hang, stream in ((hang, stream) for hang in ("hang", "hang=start") for stream in (False, True)):
            body = chat(f"{prompt} {hang} {stream} [[fake: {hang}]]", stream=stream)
            asked[f"{prompt} {hang} {stream}"] = crowd.ask(edited.gateways, key, body, count=201)
        for asked_for, lives in asked.items():
            answers = [live.whole() for live in lives]
            assert {answer.status for answer in answers} == {502}, asked_for
            assert {answer.error["code"] for answer in answers} == {"upstream_cut_short"}
            outcomes = [answer.outcome for answer in answers]
            assert outcomes.count(("miss", "request")) == 1 and outcomes.count(("miss", "takeover")) == 2
            assert outcomes.count(("coalesced", "in-flight")) == 198
            ended = [live.ended_at for live, answer in zip(lives, answers) if answer.cache_status == "coalesced"]
            assert max(ended) - min(ended) < PATIENCE_MS / 1000, "nobody has waited for a fourth call"
            told = {"total": 3, "open": 0, "by_outcome": {"client_left": 3}}
            wait_until(lambda: edited.provider.calls_of(asked_for) == told, "the provider was asked three times")
    finally:
        edited.configure({})
