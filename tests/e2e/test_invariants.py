"""The invariants of docs/reference/invariants.md, where no other file of this suite would see them break."""

import concurrent.futures
import json
import re
import signal
import time

import pytest

from answers import LOST, assert_coalesced, assert_hit, assert_miss, assert_refused, until_remembered
from group import UPSTREAM_KEY, Group, chat
from processes import wait_until

SHAPES = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
# Longer than a lease lasts without being renewed.
BEYOND_A_LEASE_S = 6.5


@pytest.fixture
def own():
    with Group() as group:
        yield group


def asking(gateway, key, client):
    """Asks through one connection, which stays with one worker."""
    return lambda asked, **fields: gateway.ask(key, asked, client=client, **fields)


# 1. No answer crosses an organization; one gate changed is a miss.

@pytest.mark.parametrize("change", [
    {"org": "worker-two"}, {"group": "g2"}, {"codebases": ["acme/web"]}, {"entitlements": ["us"]},
], ids=str)
def test_a_worker_that_has_the_answer_at_hand_keeps_it_from_another_caller(group, prompt, change):
    ours = {"org": "worker-one", "group": "g1", "codebases": ["acme/api"], "entitlements": ["eu"]}
    key, other = group.key(**ours), group.key(**{**ours, **change})
    body = json.dumps(chat(prompt)).encode()
    with group.a.client() as client:
        paid = assert_miss(group.a.post(key, body, client=client))
        assert len(until_remembered(lambda: group.a.post(key, body, client=client), paid)) >= 3
        missed = assert_miss(group.a.post(other, body, client=client))
        assert missed.id != paid.id
        assert_hit(group.a.post(key, body, client=client), of=paid)
        assert_hit(group.a.post(other, body, client=client), of=missed)


# 2. A cached answer is a whole answer of the provider, in the shape that was asked for.

def test_a_worker_that_has_the_answer_in_one_shape_tells_it_in_every_shape(group, key, prompt):
    shapes = [{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}]
    with group.b.client() as client:
        ask = asking(group.b, key, client)
        paid = assert_miss(ask(prompt))
        shared = [assert_hit(ask(prompt, **shape), of=paid) for shape in shapes]
        # The first of them was the first hit of its key, and the worker keeps what is asked for again.
        assert assert_hit(ask(prompt), of=paid).detail == "shared"
        again = [until_remembered(lambda: ask(prompt, **shape), paid)[-1] for shape in shapes]
    assert [hit.body for hit in again] == [hit.body for hit in shared]
    assert shared[0].body == paid.body
    assert len({hit.body for hit in shared}) == 3
    assert [bool(chunk.get("usage")) for chunk in (shared[1].chunks()[-1], shared[2].chunks()[-1])] == [False, True]


def test_a_stream_that_breaks_after_its_last_event_is_not_stored(group, key, prompt):
    body = chat(f"{prompt} [[fake: cut_after=1000]]", stream=True)
    broken = group.a.ask(key, body)
    assert broken.broke is not None, broken
    group.provider.script("words=3", 1)
    paid = assert_miss(group.b.ask(key, body), "request")
    assert_hit(group.a.ask(key, body), of=paid)


# 3. At most one call of the provider for each key and lease.

@SHAPES
@pytest.mark.parametrize("fake", [
    "reset", "cut_after=0", "cut_after_bytes=1", "status=500", "status=503", "status=429", "truncate=0",
])
def test_a_call_that_fails_is_not_made_again(group, key, prompt, fake, stream):
    before = group.provider.total()
    group.a.ask(key, f"{prompt} [[fake: {fake}]]", stream=stream)
    group.provider.wait_idle()
    assert group.provider.total() == before + 1


def test_of_many_identical_requests_one_leads_and_only_its_answer_is_kept(group, key, prompt):
    body = chat(f"{prompt} [[fake: hold=body]]")
    count = 8
    fills = group.sidecar.metric("kt_fills")
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(group.gateways[number % 2].ask, key, body) for number in range(count)]
        group.provider.wait_held()
        group.sidecar.wait_followers(count - 1)
        group.provider.release()
        answers = [done.result() for done in asked]
    [leader] = [assert_miss(answer) for answer in answers if answer.cache_status == "miss"]
    for answer in answers:
        if answer is not leader:
            assert_coalesced(answer, of=leader)
    assert group.sidecar.metric("kt_fills") == fills + 1
    for gateway in group.gateways:
        assert_hit(gateway.ask(key, body), of=leader)


def test_a_leader_leads_for_as_long_as_its_call_takes(group, crowd, key, prompt):
    group.provider.script("hold=body", 1, prompt=prompt)
    lives = [crowd.one(group.a, key, chat(prompt))]
    group.provider.wait_held()
    begin = time.monotonic()
    wait_until(lambda: time.monotonic() > begin + BEYOND_A_LEASE_S, "a lease would have run out")
    # Whoever comes now still follows.
    lives.append(crowd.one(group.b, key, chat(prompt)))
    group.sidecar.wait_followers(1)
    group.provider.release()
    paid = assert_miss(lives[0].whole())
    assert_coalesced(lives[1].whole(), of=paid)
    assert group.provider.calls_of(prompt)["total"] == 1
    assert_hit(group.b.ask(key, prompt), of=paid)


# 6. Losing a part costs a miss or a 503, and no correctness.

def test_a_key_revoked_while_a_gateway_was_away_is_refused_when_it_is_back(own, prompt):
    key = own.key(org="acme")
    with own.a.client() as client:
        ask = asking(own.a, key, client)
        paid = assert_miss(ask(prompt))
        assert len(until_remembered(lambda: ask(prompt), paid)) >= 3
        [envoy] = own.a.envoys()
        envoy.signal(signal.SIGSTOP)
        try:
            own.sidecar.process.kill()
            own.sidecar.restart()
            own.sidecar.revoke(key)
        finally:
            envoy.signal(signal.SIGCONT)
        wait_until(lambda: ask(prompt).status == 401, "gw-a refuses the key", 20)
        assert_refused(ask(prompt), 401, "revoked_api_key")


# 7. No client input makes memory grow beyond its bound.

def test_no_number_of_prompts_makes_the_cache_grow_beyond_its_bound(configurable, prompt):
    key = configurable.key(org="acme")
    configurable.configure({"workflow_cache": {"memory": {"max_entries": 5}}})
    paid = [assert_miss(configurable.a.ask(key, f"{prompt} {number}")) for number in range(12)]
    assert gauge(configurable, "kt_entries") == 5
    for number in range(7, 12):
        assert_hit(configurable.b.ask(key, f"{prompt} {number}"), of=paid[number])
    assert_miss(configurable.b.ask(key, f"{prompt} 0"), "request")
    assert gauge(configurable, "kt_entries") == 5


def gauge(group, name):
    [value] = re.findall(rf"^{name} (\S+)$", group.sidecar.metrics(), re.MULTILINE)
    return float(value)


# 9. Nothing reaches a provider that identity and policy have not passed.

def test_a_key_revoked_in_time_gets_nothing_of_a_gateway_that_loses_its_sidecar(own, prompt):
    revoked, valid = own.key(org="acme"), own.key(org="acme")
    with own.a.client() as client:
        for key in (revoked, valid):
            assert_miss(asking(own.a, key, client)(f"{prompt} {key.key_id}"))
        own.sidecar.revoke(revoked)
        # The feed is in order: a worker that has this has the revocation.
        own.configure({"gateway": {"request_bytes_max": 4 << 20}})
        own.sidecar.process.kill()
        wait_until(lambda: asking(own.a, valid, client)(prompt).outcome in LOST, "the sidecar is lost")
        before = own.provider.total()
        assert_refused(asking(own.a, revoked, client)(prompt), 503, "sidecar_unavailable")
        assert own.provider.total() == before


@SHAPES
def test_without_the_sidecar_too_the_provider_gets_nothing_of_the_client(own, prompt, stream):
    key = own.key(org="acme")
    headers = {
        "x-api-key": key.secret, "cookie": "session=of-the-client", "x-org": "of-the-client",
        "openai-organization": "of-the-client", "x-secret": key.secret, "proxy-authorization": "Basic c2VjcmV0",
        "x-forwarded-for": "203.0.113.9", "x-kt-lane": "sidecar", "x-kt-target": "other", "x-kt-codebase-of": "x",
    }
    body = json.dumps(chat(prompt, stream=stream)).encode()
    with own.a.client() as client:
        assert_miss(asking(own.a, key, client)(f"{prompt} before"))
        own.sidecar.process.kill()
        answer = own.a.post(key, body, headers=headers, client=client)
    assert answer.status == 200 and answer.outcome in LOST, answer
    seen = own.provider.request_of(body)
    assert [value for name, value in seen["headers"] if name == "authorization"] == [f"Bearer {UPSTREAM_KEY}"]
    text = json.dumps(seen)
    for secret in [key.secret, "kt_gk_", "of-the-client", "c2VjcmV0", "203.0.113.9"]:
        assert secret not in text, text
    names = {name for name, _ in seen["headers"]}
    assert not [name for name in names if name.startswith(("x-kt-", "x-envoy-"))], names
