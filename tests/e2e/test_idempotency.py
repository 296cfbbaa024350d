"""`Idempotency-Key` at the front door: a request that is sent again is made once, whichever gateway it comes to."""

import json
import uuid

import pytest

import raw
from answers import assert_coalesced, assert_hit, assert_miss, assert_refused
from group import chat
from processes import wait_until
from raw import bearer, exchange

REPLAYED = ("hit", "replayed")


@pytest.fixture
def own(edited):
    """The changeable group, with its sidecar running again after the test."""
    yield edited
    edited.provider.release()
    if not edited.sidecar.process.is_alive():
        edited.sidecar.restart()
    wait_recovered(edited)


@pytest.fixture
def named():
    """A key that nobody has used before, as a client sends it."""
    return {"idempotency-key": f"order-{uuid.uuid4()}"}


def wait_recovered(group):
    """Until every gateway goes through the sidecar again."""
    key = group.key(org="recovery")
    for gateway in group.gateways:
        wait_until(lambda: gateway.ask(key, f"Are you back? {uuid.uuid4()}").cache_status == "miss",
                   f"{gateway.id} goes through the sidecar again")


def assert_replayed(answer, of):
    """The same reply again, byte for byte, and said to be that."""
    assert answer.broke is None and answer.outcome == REPLAYED, answer
    assert answer.headers["idempotent-replayed"] == "true", answer.headers
    assert (answer.status, answer.body) == (of.status, of.body), (answer, of)
    for name in ("content-type", "x-kt-served-by"):
        assert answer.headers[name] == of.headers[name], name
    assert answer.headers["x-request-id"] != of.headers["x-request-id"], "each request has its own"
    return answer


@pytest.mark.parametrize("fields", [
    {}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}},
], ids=["json", "stream", "stream with usage"])
@pytest.mark.parametrize("more", [{}, {"cache-control": "no-cache"}], ids=["cached", "past the cache"])
def test_a_retry_at_another_gateway_gets_the_same_reply_and_makes_no_call(group, key, prompt, named, fields, more):
    first = group.a.ask(key, prompt, headers={**named, **more}, **fields)
    assert first.status == 200 and first.outcome != REPLAYED, first
    assert "idempotent-replayed" not in first.headers
    for gateway in (group.b, group.a, group.b):
        assert_replayed(gateway.ask(key, prompt, headers={**named, **more}, **fields), of=first)
    assert group.provider.calls_of(prompt)["total"] == 1


def test_what_the_gateways_memory_has_is_remembered_for_a_key_too(group, key, prompt, named):
    with group.a.client() as client:
        paid = assert_miss(group.a.ask(key, prompt, client=client))
        for _ in range(3):
            group.a.ask(key, prompt, client=client)
        first = group.a.ask(key, prompt, client=client, headers=named)
        assert first.outcome == ("hit", "shared") and first.id == paid.id, first
    assert_replayed(group.b.ask(key, prompt, headers=named), of=first)


def test_the_key_goes_to_no_provider(group, key, prompt, named):
    group.a.ask(key, prompt, headers=named)
    sent = group.provider.request_of(json.dumps(chat(prompt)).encode())
    assert "user-agent" in str(sent["headers"]), sent
    assert "idempotency" not in str(sent).lower() and named["idempotency-key"] not in str(sent), sent


def test_while_a_request_is_answered_its_key_is_taken(group, key, crowd, prompt, named):
    gate = f"taken-{uuid.uuid4()}"
    body = chat(f"{prompt} [[fake: words=24, gate={gate}@event:3]]", stream=True)
    lead = crowd.one(group.a, key, body, headers=named)
    group.provider.wait_at(gate)
    lead.wait_events(3)
    for gateway in (group.a, group.b):
        refused = gateway.ask(key, body, headers=named)
        error = assert_refused(refused, 409, "idempotency_in_flight")
        assert error["param"] == "Idempotency-Key"
        assert refused.headers["retry-after"] == "1" and "x-should-retry" not in refused.headers
        assert_refused(gateway.ask(key, {**body, "seed": 7}, headers=named), 422, "idempotency_key_reused")
    group.provider.release(gate)
    first = lead.whole()
    assert first.status == 200 and first.broke is None and first.events()[-1] == "[DONE]", first
    assert_replayed(group.b.ask(key, body, headers=named), of=first)
    assert group.provider.calls_of(prompt)["total"] == 1


def test_another_request_with_the_same_key_is_refused(group, key, prompt, named):
    first = assert_miss(group.a.ask(key, prompt, headers=named))
    others = (chat(f"{prompt} Really?"), chat(prompt, stream=True), chat(prompt, user="somebody else"),
              chat(prompt) | {"model": "gpt-4o-mini"})
    for other in others:
        refused = group.b.ask(key, other, headers=named)
        assert_refused(refused, 422, "idempotency_key_reused")
        assert refused.headers["x-should-retry"] == "false"
    assert_replayed(group.a.ask(key, prompt, headers=named), of=first)
    assert group.provider.calls_of(prompt)["total"] == 1


def test_a_key_is_its_gateway_keys_own(group, prompt, named):
    everyone = [group.key(org=org, user=user) for org, user in
                [("acme", "ada"), ("acme", "grace"), ("umbrella", "ada")]]
    firsts = [group.a.ask(one, f"{prompt} {at}", headers=named) for at, one in enumerate(everyone)]
    for at, (one, first) in enumerate(zip(everyone, firsts, strict=True)):
        assert_miss(first)
        assert_replayed(group.b.ask(one, f"{prompt} {at}", headers=named), of=first)


@pytest.mark.parametrize("status, is_kept", [(400, True), (422, True), (429, False), (500, False)])
def test_a_refusal_that_would_come_again_is_told_again(group, key, prompt, named, status, is_kept):
    asked = f"{prompt} [[fake: status={status}]]"
    first = group.a.ask(key, asked, headers=named)
    assert first.status == status, first
    calls = group.provider.calls_of(prompt)["total"]
    again = group.b.ask(key, asked, headers=named)
    assert again.status == status
    assert ("idempotent-replayed" in again.headers) == is_kept, again
    assert (group.provider.calls_of(prompt)["total"] == calls) == is_kept


def test_a_key_that_is_too_long_is_refused_by_its_name(group, key, prompt):
    refused = group.a.ask(key, prompt, headers={"idempotency-key": "k" * 256})
    assert assert_refused(refused, 400, "invalid_field")["param"] == "Idempotency-Key"
    longest = {"idempotency-key": f"{uuid.uuid4()}".ljust(255, "k")}
    first = assert_miss(group.a.ask(key, prompt, headers=longest))
    assert_replayed(group.b.ask(key, prompt, headers=longest), of=first)


@pytest.mark.parametrize("empty", [b"", b" \t "], ids=["nothing", "spaces"])
def test_an_empty_key_is_none(group, key, prompt, empty):
    def ask(gateway, body):
        return exchange(gateway, raw.request(body, [bearer(key), b"idempotency-key: " + empty]))
    body = raw.chat_bytes(prompt)
    first = assert_miss(ask(group.a, body))
    # As without one: what is remembered is the cache's, and another request is another request.
    assert_hit(ask(group.b, body), of=first)
    assert_miss(ask(group.b, raw.chat_bytes(f"{prompt} Really?")))
    assert "idempotency" not in str(group.provider.request_of(body)).lower()


@pytest.mark.parametrize("keys", [("", ""), ("", "k"), ("k", ""), ("k", "k")])
def test_of_two_keys_none_is_chosen(group, key, prompt, keys):
    before = group.provider.total()
    lines = [bearer(key), *(f"idempotency-key: {one}".encode() for one in keys)]
    refused = exchange(group.a, raw.request(raw.chat_bytes(prompt), lines))
    assert assert_refused(refused, 400, "invalid_field")["param"] == "Idempotency-Key"
    assert group.provider.total() == before


def test_who_leaves_comes_back_to_what_its_flight_brings(group, key, crowd, prompt, named):
    gate = f"leaver-{uuid.uuid4()}"
    body = chat(f"{prompt} [[fake: words=24, gate={gate}@event:3]]", stream=True)
    lead = crowd.one(group.a, key, body, headers=named)
    group.provider.wait_at(gate)
    lead.wait_events(3)
    # Somebody else waits for it, so that it goes on.
    other = crowd.one(group.b, key, body)
    other.wait_events(3)
    lead.leave()
    retry = None

    def is_let_in():
        nonlocal retry
        retry = crowd.one(group.b, key, body, headers=named).wait_head()
        return retry.status == 200
    wait_until(is_let_in, "the sidecar knows that the client has left")
    group.provider.release(gate)
    told = assert_coalesced(retry.whole())
    assert told.body == other.whole().body
    assert_replayed(group.a.ask(key, body, headers=named), of=told)
    assert group.provider.calls_of(prompt)["total"] == 1


@pytest.mark.parametrize("fields", [{}, {"stream": True}], ids=["json", "stream"])
def test_a_reply_survives_the_sidecars_sudden_death(own, prompt, named, fields):
    key = own.key(org="acme")
    first = assert_miss(own.a.ask(key, prompt, headers=named, **fields))
    own.sidecar.process.kill()
    own.sidecar.restart()
    wait_recovered(own)
    assert_replayed(own.b.ask(key, prompt, headers=named, **fields), of=first)
    assert own.provider.calls_of(prompt)["total"] == 1


def test_a_request_that_died_with_the_sidecar_is_made_again(own, crowd, prompt, named):
    key, gate = own.key(org="acme"), f"death-{uuid.uuid4()}"
    body = chat(f"{prompt} [[fake: words=24, gate={gate}@event:3]]", stream=True)
    cut = crowd.one(own.a, key, body, headers=named)
    own.provider.wait_at(gate)
    cut.wait_events(3)
    own.sidecar.process.kill()
    assert cut.whole().broke is not None
    # Nobody else knows what became of it: it goes on no direct way.
    for gateway in (own.a, own.b):
        assert_refused(gateway.ask(key, body, headers=named), 503, "sidecar_unavailable")
    assert own.provider.calls_of(prompt)["total"] == 1
    own.sidecar.restart()
    wait_recovered(own)
    own.provider.release()
    retry = crowd.one(own.b, key, body, headers=named)
    own.provider.wait_at(gate)
    own.provider.release(gate)
    again = assert_miss(retry.whole())
    assert again.events()[-1] == "[DONE]"
    assert_replayed(own.a.ask(key, body, headers=named), of=again)
    assert own.provider.calls_of(prompt)["total"] == 2
