"""Each way in which a call can end, with two hundred requests waiting for it."""

import re

import pytest

from answers import assert_coalesced, assert_cut_off, assert_hit, assert_miss
from group import chat
from processes import wait_until

WAITERS = 200
SHAPES = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])


class Episode:
    """A first call that goes as `first` says, all later ones as `later`, and requests that wait at its gate with it."""

    def __init__(self, crowd, group, prompt, first, later="", point="head", stream=False, waiters=WAITERS):
        self.group, self.crowd, self.prompt, self.waiting = group, crowd, prompt, []
        self.gate = re.sub("[^a-z0-9]", "", prompt)
        self.key, self.body = group.key(org="acme"), chat(f"{prompt} [[fake: {later}]]", stream=stream)
        group.provider.script(f"gate={self.gate}@{point}, {first}", 1, prompt=prompt)
        self.lead = crowd.one(group.a, self.key, self.body)
        group.provider.wait_at(self.gate)
        self.join(waiters)

    def join(self, count, **fields):
        """More who wait, in the same shape or in another."""
        joined = self.crowd.ask(self.group.gateways, self.key, {**self.body, **fields}, count=count)
        self.waiting += joined
        return joined

    def end(self):
        """Lets the first call end; the leader's answer, and those of the others."""
        self.group.provider.release(self.gate)
        return self.lead.whole(), [live.whole() for live in self.waiting]

    def calls(self):
        return self.group.provider.calls_of(self.prompt)

    def ask(self, gateway=None):
        return (gateway or self.group.b).ask(self.key, self.body)


@pytest.fixture
def episode(four, crowd, prompt):
    """Begins an episode; all its waiters are attached."""
    def begin(first, later="", stream=False, point="head"):
        begun = Episode(crowd, four, prompt, first, later, point, stream)
        four.sidecar.wait_followers(WAITERS)
        return begun
    return begin


def assert_taken_over(answers):
    """All whole and of one call, which one of them has led."""
    led = [answer for answer in answers if answer.cache_status == "miss"]
    assert [answer.outcome for answer in led] == [("miss", "takeover")], [answer.outcome for answer in led]
    for answer in answers:
        if answer is not led[0]:
            assert_coalesced(answer, of=led[0])
    return assert_miss(led[0])


def assert_calls_again(episode):
    """Nothing is stored: the next request makes a call, whatever it then gets."""
    before = episode.calls()["total"]
    assert episode.ask().cache_status == "miss"
    assert episode.calls()["total"] > before


@pytest.mark.parametrize("uncacheable, stream", [
    ("no_store", False), ("no_store", True), ("finish=content_filter", False), ("finish=content_filter", True),
    ("words=33000", False),  # more than max_entry_tokens
])
@pytest.mark.fault(44)
def test_what_may_not_be_kept_is_shared_once_and_then_everyone_calls_in_parallel(
        four, crowd, prompt, episode, uncacheable, stream):
    again = f"{prompt[8:16]}-again"
    begun = episode(uncacheable, f"{uncacheable}, gate={again}", stream=stream)
    lead, others = begun.end()
    assert_miss(lead)
    for other in others:
        assert_coalesced(other, of=lead)
    assert begun.calls()["total"] == 1
    # Never one after another: all are at the provider before any has its answer.
    parallel = crowd.ask(four.gateways, begun.key, begun.body, count=20)
    four.provider.wait_at(again, 20)
    four.provider.release(again)
    answers = [assert_miss(live.whole(), "hit-for-miss") for live in parallel]
    assert len({answer.id for answer in answers}) == 20


@SHAPES
@pytest.mark.parametrize("first", [
    "status=500", "status=503", "status=529", "status=408", "status=409", "status=429", "reset", "cut_at=0%",
    "status=429, retry_after=1",
])
def test_after_a_failure_that_may_pass_one_of_the_waiters_leads(episode, stream, first):
    begun = episode(first, stream=stream)
    lead, others = begun.end()
    assert lead.status in (500, 503, 529, 408, 409, 429, 502), lead
    assert lead.cache_status == "miss" and lead.error, lead
    paid = assert_taken_over(others)
    assert begun.calls()["total"] == 2
    assert_hit(begun.ask(), of=paid)


@SHAPES
def test_a_failure_that_does_not_pass_is_told_to_all_after_two_takeovers(episode, stream):
    begun = episode("status=500", later="status=500", stream=stream)
    lead, others = begun.end()
    assert {answer.status for answer in (lead, *others)} == {500}
    assert all(answer.error for answer in others)
    assert begun.calls() == {"total": 3, "open": 0, "by_outcome": {"status_500": 3}}
    assert_calls_again(begun)


@SHAPES
@pytest.mark.fault(43)
def test_a_provider_that_wants_to_be_left_alone_is_left_alone(episode, stream):
    fake = "status=429, retry_after=30"
    begun = episode(fake, later=fake, stream=stream)
    lead, others = begun.end()
    assert {answer.status for answer in (lead, *others)} == {429}
    assert {answer.headers["retry-after"] for answer in (lead, *others)} <= {str(n) for n in range(25, 31)}
    assert begun.calls()["total"] == 1


@SHAPES
@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_refusal_that_will_not_change_is_shared_and_not_stored(four, episode, stream, status):
    begun = episode(f"status={status}", stream=stream)
    lead, others = begun.end()
    assert lead.status == status and lead.error, lead
    assert {(answer.status, answer.body) for answer in others} == {(status, lead.body)}
    assert {answer.outcome for answer in others} == {("coalesced", "in-flight")}
    assert begun.calls()["total"] == 1
    paid = assert_miss(begun.ask())
    assert_hit(begun.ask(four.c), of=paid)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_of_the_gateway_is_told_to_all_as_such(episode, status):
    begun = episode(f"status={status}", later=f"status={status}")
    lead, others = begun.end()
    assert {answer.status for answer in (lead, *others)} == {502}
    assert {answer.error["code"] for answer in (lead, *others)} == {"upstream_unauthorized"}
    assert begun.calls()["total"] <= 3


@pytest.mark.parametrize("fake", ["no_done", "end_after=4", "truncate_at=60%", "length=100"])
def test_a_stream_that_ends_badly_is_whole_for_nobody(four, episode, fake):
    begun = episode(fake, point="event:2", stream=True)
    for live in (begun.lead, *begun.waiting):
        live.wait_events(2)
    begun.join(4, stream=False)
    four.sidecar.wait_followers(WAITERS + 4)
    lead, others = begun.end()
    for answer in (lead, *others[:WAITERS]):
        assert_cut_off(answer)
    # Those without a byte have a whole answer from a new leader.
    paid = assert_taken_over(others[WAITERS:])
    assert begun.calls()["total"] == 2
    assert_hit(begun.ask(), of=paid)


@pytest.mark.fault(42)
def test_an_error_inside_a_stream_is_told_to_its_readers_as_it_came_and_once_and_has_no_end(four, episode):
    begun = episode("error_event", point="event:2", stream=True)
    for live in (begun.lead, *begun.waiting):
        live.wait_events(2)
    begun.join(4, stream=False)
    four.sidecar.wait_followers(WAITERS + 4)
    lead, others = begun.end()
    for answer in (lead, *others[:WAITERS]):
        assert_cut_off(answer)
        assert answer.body == lead.body
    assert ["error" in chunk for chunk in lead.chunks()].count(True) == 1, lead
    assert "told to fail" in lead.chunks()[-1]["error"]["message"], lead
    paid = assert_taken_over(others[WAITERS:])
    assert begun.calls() == {"total": 2, "open": 0, "by_outcome": {"error_event": 1, "ok": 1}}
    assert_hit(begun.ask(), of=paid)


@SHAPES
@pytest.mark.parametrize("first", range(0, 100, 25))
@pytest.mark.fault(40)
def test_a_connection_cut_at_any_part_of_the_body_is_whole_for_nobody(four, crowd, prompt, first, stream):
    parts = {}
    # Every 5 %; a few at a time, for all have their two hundred.
    for part in range(first, first + 25, 5):
        cut, other_shape = f"cut_at={part}%", WAITERS // 4
        parts[part] = Episode(crowd, four, f"{prompt} part {part:02}.", cut, point=f"{part}%", stream=stream,
                              waiters=WAITERS - other_shape)
        parts[part].join(other_shape, stream=not stream)
    four.sidecar.wait_followers(WAITERS * len(parts))
    for part, begun in parts.items():
        lead, others = begun.end()
        begun_before = [answer for answer in (lead, *others) if answer.status == 200 and answer.broke]
        for answer in begun_before:
            assert_cut_off(answer)
        if lead not in begun_before:
            assert lead.status == 502 and lead.error["code"] == "upstream_cut_short", lead
        # Those without a byte have a whole answer of a new leader, which is what is stored.
        assert stream or not begun_before, part
        paid = assert_taken_over([answer for answer in others if answer not in begun_before])
        assert begun.calls() == {"total": 2, "open": 0, "by_outcome": {"cut": 1, "ok": 1}}, part
        assert_hit(begun.ask(), of=paid)


def test_a_call_that_is_taken_over_runs_in_the_name_and_through_the_gateway_of_the_one_that_takes_over(
        four, crowd, prompt):
    first, second = four.key(org="acme", user="ada"), four.key(org="acme", user="bob")
    body = chat(prompt)
    gate = prompt[8:16]
    four.provider.script(f"gate={gate}, status=500", 1, prompt=prompt)
    lead = crowd.one(four.a, first, body)
    four.provider.wait_at(gate)
    waits = crowd.one(four.c, second, body)
    four.sidecar.wait_followers(1)
    four.provider.release(gate)
    assert lead.whole().status == 500
    paid = assert_miss(waits.whole(), "takeover")
    ids = [answer.headers["x-request-id"] for answer in (lead.whole(), paid)]
    # What the provider saw of each, what the sidecar wrote down of each, and whose egress has it in its log.
    seen = [dict(request["headers"])["x-request-id"] for request in four.provider.requests()]
    assert [one for one in seen if one in ids] == ids
    for key, request_id, attempt, gateway in ((first, ids[0], 1, four.a), (second, ids[1], 2, four.c)):
        call, = wait_until(lambda: four.sidecar.calls_for(key), "the call has its line")
        assert (call["request_id"], call["attempt"], call["gateway"]) == (request_id, attempt, gateway.id), call
        wait_until(lambda: gateway.sent(request_id), f"{gateway.id} has sent the call")
