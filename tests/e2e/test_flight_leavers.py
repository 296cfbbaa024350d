"""Clients that leave a flight and gateways that are killed under it: what nobody's answer may depend on."""

import pytest

from answers import assert_coalesced, assert_cut_off, assert_hit, assert_miss
from group import FOUR, Group, chat
from processes import wait_until

# Before the head, before the first byte, and behind each of the first events.
POINTS = ["head", "start", *(f"event:{events}" for events in range(1, 19))]
WORDS = 24


@pytest.fixture
def own():
    with Group(gateways=FOUR) as group:
        yield group


def events_at(point):
    return int(point.removeprefix("event:")) if point.startswith("event:") else 0


class Flight:
    """One flight that waits at one point: a leader, and followers who have what there is of it."""

    def __init__(self, crowd, group, key, prompt, point, leader):
        self.group, self.key, self.point = group, key, point
        self.prompt, self.gate = f"{prompt} {point}", f"{prompt[8:16]}-{leader.id}-{point.replace(':', '-')}"
        self.prompt += f" by {leader.id}"
        asked = f"{self.prompt} [[fake: words={WORDS}, gate={self.gate}@{point}]]"
        self.streamed, self.plain = chat(asked, stream=True), chat(asked)
        self.lead = crowd.one(leader, key, self.streamed)
        group.provider.wait_at(self.gate)

    def join(self, crowd, gateways):
        """One that streams and one that does not, at each of the gateways."""
        self.streams = crowd.ask(gateways, self.key, self.streamed, count=len(gateways))
        self.waits = crowd.ask(gateways, self.key, self.plain, count=len(gateways))

    def wait_streamed(self):
        """Whoever streams has what the provider has sent."""
        for live in (self.lead, *self.streams):
            live.wait_events(events_at(self.point))

    def calls(self):
        return self.group.provider.calls_of(self.prompt)


def test_a_leaders_client_may_leave_at_any_point_and_everyone_else_gets_the_whole_answer(four, crowd, prompt):
    key, before = four.key(org="acme"), four.sidecar.clients_left()
    flights = [Flight(crowd, four, key, prompt, point, four.gateways[at % 4]) for at, point in enumerate(POINTS)]
    for flight in flights:
        flight.join(crowd, four.gateways[:2])
    four.sidecar.wait_followers(4 * len(flights))
    for flight in flights:
        flight.wait_streamed()
        flight.lead.leave()
    wait_until(lambda: four.sidecar.clients_left() - before >= len(flights), "the sidecar knows that every leader's client has left")
    for flight in flights:
        four.provider.release(flight.gate)
    for flight in flights:
        told = [assert_coalesced(live.whole()) for live in (*flight.streams, *flight.waits)]
        assert len({answer.id for answer in told}) == 1, flight.point
        assert_whole(told[0])
        assert_hit(four.c.ask(key, flight.streamed), of=told[0])
        assert flight.calls() == {"total": 1, "open": 0, "by_outcome": {"ok": 1}}, flight.point


def assert_whole(answer):
    assert answer.events()[-1] == "[DONE]", answer
    assert [choice["finish_reason"] for chunk in answer.chunks() for choice in chunk["choices"]][-1] == "stop", answer


@pytest.mark.parametrize("rule, point, goes_on", [
    ("auto", "event:3", False),
    ("auto", "event:38", True),
    ("always", "start", True),
    ("never", "event:38", False),
])
def test_when_nobody_is_left_the_call_ends_as_the_configuration_says(edited, crowd, prompt, rule, point, goes_on):
    edited.configure({"workflow_cache": {"complete_on_disconnect": rule}})
    try:
        key, gate = edited.key(org="acme"), prompt[8:16]
        # The client's own limit says how much is to be expected.
        body = chat(f"{prompt} [[fake: words=40, gate={gate}@{point}]]", stream=True, max_tokens=40)
        before = edited.sidecar.clients_left()
        lives = [crowd.one(edited.a, key, body)]
        edited.provider.wait_at(gate)
        lives.append(crowd.one(edited.b, key, body))
        edited.sidecar.wait_followers(1)
        for live in lives:
            live.wait_events(events_at(point))
        for live in lives:
            live.leave()
        wait_until(lambda: edited.sidecar.clients_left() == before + 2, "the sidecar knows that both have left")
        if goes_on:
            edited.provider.release(gate)
            wait_until(lambda: edited.provider.calls_of(prompt)["by_outcome"] == {"ok": 1}, "the call has ended")
            # Nobody's request any more; what it was, and that it was paid for, is written down all the same.
            call, = wait_until(lambda: edited.sidecar.calls_for(key), "the call has its line")
            # Not before: the provider has ended when what it sent may still be on its way.
            assert_hit(edited.b.ask(key, body))
            assert (call["end"], call["stored"], call["readers"], call["http_status"]) == ("served", True, 0, 200)
            assert call["output_tokens"] == 40 and call["answer_bytes"] > 1000, call
        else:
            # At once: a provider that says nothing would be given up after half a minute anyhow.
            wait_until(lambda: edited.provider.calls_of(prompt)["by_outcome"] == {"client_left": 1},
                       "the call is cancelled", 10)
            call, = wait_until(lambda: edited.sidecar.calls_for(key), "the call has its line")
            assert (call["end"], call["stored"], call["not_stored"]) == ("cancelled", False, "client-left")
            edited.provider.release(gate)
            assert_miss(edited.b.ask(key, body), "request")
    finally:
        edited.configure({})


@pytest.mark.fault(5)
def test_a_killed_gateway_costs_other_gateways_flights_nothing_and_its_own_one_call_more(own, crowd, prompt):
    key = own.key(org="acme")
    through_a = [Flight(crowd, own, key, prompt, point, own.a) for point in POINTS]
    through_b = [Flight(crowd, own, key, prompt, point, own.b) for point in POINTS]
    for flight in through_a:
        flight.join(crowd, own.gateways[1:3])
    for flight in through_b:
        flight.join(crowd, (own.a, own.c))
    own.sidecar.wait_followers(4 * 2 * len(POINTS))
    for flight in (*through_a, *through_b):
        flight.wait_streamed()
    own.a.process.kill()
    for flight in through_a:
        # Somebody waits without a byte at least, so somebody calls again; through a gateway that lives.
        wait_until(lambda: flight.calls()["total"] == 2, f"the flight at {flight.point} has a new leader")
    for flight in (*through_a, *through_b):
        own.provider.release(flight.gate)

    for flight in through_b:
        assert_miss(flight.lead.whole())
        for live in (*flight.streams, *flight.waits):
            if live.gateway is own.a:
                assert live.whole().broke is not None, live
            else:
                assert_coalesced(live.whole(), of=flight.lead.whole())
        assert flight.calls() == {"total": 1, "open": 0, "by_outcome": {"ok": 1}}, flight.point

    for flight in through_a:
        assert flight.lead.whole().broke is not None
        whole = [live.whole() for live in flight.waits]
        if events_at(flight.point):
            for live in flight.streams:
                assert_cut_off(live.whole())
        else:
            whole += [live.whole() for live in flight.streams]
        assert sorted(answer.outcome for answer in whole)[-1] == ("miss", "takeover"), (flight.point, whole)
        assert len({answer.id for answer in whole}) == 1 and {answer.status for answer in whole} == {200}, whole
        assert flight.calls()["total"] == 2, flight.point
        # The retry of those who were cut off succeeds, and what is stored is the second call's whole answer.
        for gateway in own.gateways[1:]:
            retried = assert_hit(gateway.ask(key, flight.streamed), of=whole[0])
            assert_whole(retried)
        assert flight.calls()["total"] == 2, flight.point
