"""A worker's own memory: what it takes, what a client may ask of it, and that every hit of it is counted once."""

import time

import openai
import pytest

from answers import assert_hit, assert_miss, assert_refused, until_remembered
from group import DEADLINE_S
from processes import wait_until

NOT_CACHED = "kt_filter_refused_total.why.not_cached"
FEED = "kt_filter_callouts_total.call.feed.result"
ONLY_IF_CACHED = {"cache-control": "only-if-cached"}


@pytest.fixture
def own(edited):
    """The changeable group, its sidecar running again after the test."""
    yield edited
    edited.sidecar.process.thaw()
    wait_until(edited.sidecar.is_ready, "the sidecar is ready")


def stat(gateway, name):
    return gateway.envoy_stats().get(f"wasmcustom.{name}", 0)


def hits_of_workers(sidecar):
    """What workers have reported, by the sidecar's count."""
    samples = [line for line in sidecar.metrics().splitlines()
               if line.startswith("kt_lookups_total{") and 'reason="l1"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in samples)


def warm(gateway, key, prompt, client):
    """Lets the client's worker hold the answer; returns the one that was paid for."""
    paid = assert_miss(gateway.ask(key, prompt, client=client))
    assert len(until_remembered(lambda: gateway.ask(key, prompt, client=client), paid)) >= 3
    return paid


def test_a_stream_is_remembered_in_its_own_shape(group, key, prompt):
    with group.a.client() as client:
        paid = warm(group.a, key, prompt, client)
        streamed = until_remembered(lambda: group.a.ask(key, prompt, client=client, stream=True), paid)
    assert len(streamed) >= 2 and len({answer.body for answer in streamed}) == 1


def test_who_wants_a_younger_answer_passes_the_memory_and_the_cache_and_fills_both(group, key, prompt):
    with group.a.client() as client:
        old = warm(group.a, key, prompt, client)
        young_enough = {"cache-control": "max-age=3600"}
        until_remembered(lambda: group.a.ask(key, prompt, client=client, headers=young_enough), old)
        new = group.a.ask(key, prompt, client=client, headers={"cache-control": "no-transform, MAX-AGE=\"0\""})
        assert assert_miss(new, "max-age").id != old.id
    assert_hit(group.b.ask(key, prompt), of=new)


@pytest.mark.parametrize("headers", [
    {"cache-control": "no-cache"}, {"cache-control": "x=\"a, b\", no-store"}, {"pragma": "no-cache"},
], ids=str)
def test_who_wants_no_cache_gets_an_answer_of_its_own(group, key, prompt, headers):
    with group.a.client() as client:
        paid = warm(group.a, key, prompt, client)
        own = group.a.ask(key, prompt, client=client, headers=headers)
        assert (own.status, own.outcome) == (200, ("bypass", "client-no-cache"))
        assert own.id != paid.id
        until_remembered(lambda: group.a.ask(key, prompt, client=client), paid)


def test_pragma_says_nothing_beside_a_cache_control(group, key, prompt):
    paid = assert_miss(group.a.ask(key, prompt))
    headers = {"pragma": "no-cache", "cache-control": "max-age=3600"}
    assert_hit(group.a.ask(key, prompt, headers=headers), of=paid)


def test_who_wants_a_cached_answer_only_is_served_from_memory_and_cache(group, key, prompt):
    paid = assert_miss(group.a.ask(key, prompt))
    with group.b.client() as client:
        hits = until_remembered(lambda: group.b.ask(key, prompt, client=client, headers=ONLY_IF_CACHED), paid)
    assert len(hits) >= 3


def test_the_sdk_raises_once_where_only_a_cached_answer_is_wanted_and_there_is_none(group, key, prompt):
    before, refused = group.provider.total(), stat(group.a, NOT_CACHED)
    sdk = openai.OpenAI(api_key=key.secret, base_url=f"{group.a.url}/v1", max_retries=3, timeout=DEADLINE_S)
    with pytest.raises(openai.InternalServerError) as raised:
        sdk.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": prompt}], extra_headers=ONLY_IF_CACHED)
    error = raised.value
    assert (error.status_code, error.code) == (504, "not_cached")
    assert error.response.headers["cache-status"] == "kt; detail=request"
    assert error.response.headers["x-should-retry"] == "false"
    assert "x-cache-status" not in error.response.headers
    wait_until(lambda: stat(group.a, NOT_CACHED) > refused, "the filter has told Envoy what it counted")
    assert stat(group.a, NOT_CACHED) == refused + 1
    assert group.provider.total() == before


def test_too_old_an_answer_is_none_for_who_wants_a_cached_one_only(group, key, prompt):
    assert_miss(group.a.ask(key, prompt))
    answer = group.a.ask(key, prompt, headers={"cache-control": "only-if-cached, max-age=0"})
    assert_refused(answer, 504, "not_cached")
    assert answer.headers["cache-status"] == "kt; detail=max-age"


def test_no_call_is_made_for_who_wants_a_cached_answer_only_while_the_sidecar_is_away(own, prompt):
    key = own.key(org="acme")
    assert_miss(own.a.ask(key, prompt))
    before = own.provider.total()
    own.sidecar.process.freeze()
    answer = own.a.ask(key, f"{prompt} Still?", headers=ONLY_IF_CACHED)
    assert_refused(answer, 504, "not_cached")
    assert answer.detail == "sidecar-lost", answer
    assert own.provider.total() == before


def test_every_hit_is_counted_once_whatever_becomes_of_the_reports(own, prompt):
    key = own.key(org="acme")
    counted, served = hits_of_workers(own.sidecar), 1
    with own.a.client() as client:
        paid = warm(own.a, key, prompt, client)

        def serve_from_memory():
            """Asks until the memory's second of freshness is over."""
            hits, end = 0, time.monotonic() + 10
            while time.monotonic() < end:
                answer = own.a.ask(key, prompt, client=client)
                if answer.outcome != ("hit", "l1"):
                    return hits
                assert_hit(answer, of=paid)
                hits += 1
            raise AssertionError("a lost feed is trusted on and on")
        lost = stat(own.a, f"{FEED}.lost")
        own.sidecar.process.freeze()
        while not (hits := serve_from_memory()):
            # The machine was so busy that the second was over before anybody asked.
            own.sidecar.process.thaw()
            until_remembered(lambda: own.a.ask(key, prompt, client=client), paid)
            served += 1
            own.sidecar.process.freeze()
        served += hits
        # The polls that carry the hits are lost, some of them after they have come to a sidecar that cannot answer.
        wait_until(lambda: stat(own.a, f"{FEED}.lost") >= lost + 3, "polls are lost")
        own.sidecar.process.thaw()
        answered = stat(own.a, f"{FEED}.answered")
        wait_until(lambda: stat(own.a, f"{FEED}.answered") >= answered + 20, "polls are answered again")
    assert hits_of_workers(own.sidecar) == counted + served
