"""One upstream call for everyone who asks the same at the same time, and for nobody else."""

import os

import pytest

from answers import assert_coalesced, assert_hit, assert_miss
from group import chat

SHAPES = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
# Three times in `make test`, twenty times in `make soak`.
ROUNDS = range(int(os.environ.get("KT_FLIGHT_ROUNDS", "3")))


def flown(crowd, group, key, body, count, gate, leader=None):
    """One leader, and `count` followers at all gateways, all attached while the provider waits at `gate`."""
    lead = crowd.one(leader or group.a, key, body)
    group.provider.wait_at(gate)
    followers = crowd.ask(group.gateways, key, body, count)
    group.sidecar.wait_followers(count)
    return lead, followers


@pytest.mark.parametrize("round", ROUNDS)
@SHAPES
def test_a_thousand_identical_requests_at_four_gateways_make_one_call(four, crowd, prompt, stream, round):
    key = four.key(org="acme")
    body = chat(f"{prompt} [[fake: gate={prompt[8:16]}]]", stream=stream)
    lives = crowd.ask(four.gateways, key, body, count=1000)
    four.sidecar.wait_followers(999)
    four.provider.release(prompt[8:16])
    answers = [live.whole() for live in lives]
    leaders = [answer for answer in answers if answer.cache_status == "miss"]
    assert len(leaders) == 1, [answer.outcome for answer in leaders]
    for answer in answers:
        if answer is not leaders[0]:
            assert_coalesced(answer)
    assert {answer.body for answer in answers} == {assert_miss(leaders[0], "request").body}
    assert four.provider.calls_of(prompt) == {"total": 1, "open": 0, "by_outcome": {"ok": 1}}
    assert_hit(four.b.ask(key, body), of=leaders[0])
    assert four.provider.calls_of(prompt)["total"] == 1


def test_two_organizations_that_ask_the_same_at_the_same_time_share_nothing(four, crowd, prompt):
    gate = prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    ours, theirs = four.key(org="flight-one"), four.key(org="flight-two")
    lives = {key: crowd.ask(four.gateways, key, body, count=4) for key in (ours, theirs)}
    four.sidecar.wait_followers(6)
    four.provider.wait_at(gate, 2)
    four.provider.release(gate)
    ids = {key: {live.whole().id for live in lives[key]} for key in lives}
    assert len(ids[ours]) == len(ids[theirs]) == 1
    assert ids[ours] != ids[theirs]
    assert four.provider.calls_of(prompt)["total"] == 2


@pytest.mark.parametrize("field, value", [
    ("seed", 7), ("temperature", 0.5), ("model", "gpt-4o-mini"), ("max_tokens", 400), ("n", 2),
])
def test_a_request_that_may_be_answered_otherwise_follows_nobody(four, crowd, prompt, field, value):
    key, gate = four.key(org="acme"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    lives = [crowd.one(four.a, key, body), crowd.one(four.b, key, {**body, field: value})]
    four.provider.wait_at(gate, 2)
    assert four.sidecar.gauge("kt_flight_followers") == 0
    four.provider.release(gate)
    first, second = (assert_miss(live.whole()) for live in lives)
    assert first.id != second.id


@pytest.mark.parametrize("change", [
    {"group": "g2"}, {"codebases": ["acme/web"]}, {"entitlements": ["us"]},
], ids=lambda change: "-".join(change))
def test_a_key_that_differs_in_one_gate_follows_nobody(four, crowd, prompt, change):
    same = {"org": "acme", "group": "g1", "codebases": ["acme/api"], "entitlements": ["eu"]}
    gate = prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    lead = crowd.one(four.a, four.key(**same), body)
    four.provider.wait_at(gate)
    other = crowd.one(four.b, four.key(**{**same, **change}), body)
    four.provider.wait_at(gate, 2)
    equal = crowd.one(four.c, four.key(**same), body)
    four.sidecar.wait_followers(1)
    four.provider.release(gate)
    paid = assert_miss(lead.whole())
    assert assert_miss(other.whole()).id != paid.id
    assert_coalesced(equal.whole(), of=paid)


@pytest.mark.parametrize("wish", ["no-cache", "no-store"])
def test_who_wants_no_cached_answer_leaves_the_flight_too(four, crowd, prompt, wish):
    key, gate = four.key(org="acme"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    lead = crowd.one(four.a, key, body)
    four.provider.wait_at(gate)
    alone = crowd.one(four.b, key, body, headers={"cache-control": wish})
    four.provider.wait_at(gate, 2)
    four.provider.release(gate)
    paid, own = assert_miss(lead.whole()), alone.whole()
    assert own.outcome == ("bypass", "client-no-cache"), own
    assert own.id != paid.id
    assert_hit(four.c.ask(key, body), of=paid)


@SHAPES
def test_without_single_flight_everyone_calls_and_one_fills(edited, crowd, prompt, stream):
    edited.configure({"workflow_cache": {"single_flight_enabled": False}})
    try:
        key, gate = edited.key(org="acme"), prompt[8:16]
        body = chat(f"{prompt} [[fake: gate={gate}]]", stream=stream)
        lead = crowd.one(edited.a, key, body)
        edited.provider.wait_at(gate)
        others = crowd.ask(edited.gateways, key, body, count=5)
        edited.provider.wait_at(gate, 6)
        assert edited.sidecar.gauge("kt_flight_followers") == 0
        edited.provider.release(gate)
        paid = assert_miss(lead.whole(), "request")
        ids = {assert_miss(other.whole(), "single-flight-off").id for other in others}
        assert len(ids | {paid.id}) == 6
        # Only the first one had the right to store.
        assert_hit(edited.b.ask(key, body), of=paid)
    finally:
        edited.configure({})


@pytest.mark.fault(47)
def test_an_invalidation_voids_the_flights_under_way(four, crowd, prompt):
    key, gate = four.key(org="invalidated-in-flight"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    lead, followers = flown(crowd, four, key, body, 5, gate)
    with four.sidecar.admin() as admin:
        reply = admin.post("/v1/invalidate", json={"org": "invalidated-in-flight", "all": True})
    assert reply.status_code == 200, reply.text
    # Who comes now does not follow what was begun before, but leads a call that fills.
    late = crowd.one(four.b, key, body)
    four.provider.wait_at(gate, 2)
    later = crowd.ask(four.gateways, key, body, count=4)
    four.sidecar.wait_followers(5 + 4)
    four.provider.release(gate)
    old = assert_miss(lead.whole())
    for follower in followers:
        assert_coalesced(follower.whole(), of=old)
    new = assert_miss(late.whole())
    assert new.id != old.id
    for follower in later:
        assert_coalesced(follower.whole(), of=new)
    assert_hit(four.c.ask(key, body), of=new)
    assert four.provider.calls_of(prompt)["total"] == 2
