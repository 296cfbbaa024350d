"""How old an answer may be, how long it is kept, and who gives way when there is no room."""

import re

import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import chat
from processes import wait_until


def cache(**fields):
    return {"workflow_cache": fields}


def asked_with(gateway, key, prompt, control):
    return gateway.ask(key, prompt, headers={"cache-control": control})


def test_an_answer_lives_its_time_and_a_tenth_less_at_most(configurable, prompt):
    key = configurable.key(org="acme")
    configurable.configure(cache(ttl_seconds=10))
    paid = assert_miss(configurable.a.ask(key, prompt))
    hit = assert_hit(configurable.b.ask(key, prompt), of=paid)
    # On a busy machine some of it has passed.
    age, left = int(hit.headers["age"]), int(re.search(r"ttl=(\d+)", hit.headers["cache-status"])[1])
    assert age <= 8 and 1 <= left <= 9 and age + left <= 10, hit.headers
    newer = wait_until(lambda: (answer := configurable.b.ask(key, prompt)).id != paid.id and answer, "it has expired")
    assert_miss(newer, "expired")


def test_a_hit_does_not_make_an_answer_younger(configurable, prompt):
    key = configurable.key(org="acme")
    configurable.configure(cache(ttl_seconds=2))
    paid = assert_miss(configurable.a.ask(key, prompt))

    def expired():
        answer = configurable.b.ask(key, prompt)
        return answer.id != paid.id and answer
    # Asked all the time, from a worker's memory too.
    assert_miss(wait_until(expired, "it expires although it is asked for", 10), "expired")


def test_a_client_says_how_old_an_answer_may_be(configurable, prompt):
    key = configurable.key(org="acme")
    paid = assert_miss(configurable.a.ask(key, prompt))
    assert_hit(asked_with(configurable.b, key, prompt, "max-age=3600"), of=paid)
    newer = assert_miss(asked_with(configurable.b, key, prompt, "max-age=0"), "max-age")
    assert newer.id != paid.id
    for gateway in configurable.gateways:
        assert_hit(gateway.ask(key, prompt), of=newer)


def test_a_client_may_want_a_cached_answer_or_none(configurable, prompt):
    key = configurable.key(org="acme")
    before = configurable.provider.total()
    refused = asked_with(configurable.a, key, prompt, "only-if-cached")
    assert_refused(refused, 504, "not_cached")
    assert refused.detail == "request" and refused.headers["x-should-retry"] == "false"
    assert configurable.provider.total() == before
    paid = assert_miss(configurable.a.ask(key, prompt))
    assert_hit(asked_with(configurable.b, key, prompt, "only-if-cached"), of=paid)
    assert_refused(asked_with(configurable.b, key, prompt, "only-if-cached, max-age=0"), 504, "not_cached")


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_an_answer_too_large_to_be_told_inline_comes_by_the_lane(configurable, prompt, stream):
    key = configurable.key(org="acme")
    configurable.configure(cache(max_entry_tokens=1_000_000))
    body = chat(f"{prompt} [[fake: size=400000]]", stream=stream)
    paid = assert_miss(configurable.a.ask(key, body))
    assert len(paid.body) > 300_000
    hit = assert_hit(configurable.b.ask(key, body), of=paid)
    assert hit.body == paid.body and hit.detail == "shared"
    cached = configurable.b.ask(key, body, headers={"cache-control": "only-if-cached"})
    assert_hit(cached, of=paid)


def test_an_answer_beyond_the_bound_in_bytes_is_served_and_not_kept(configurable, prompt):
    key = configurable.key(org="acme")
    configurable.configure(cache(max_entry_bytes=10_000))
    for stream in (False, True):
        body = chat(f"{prompt} [[fake: size=20000]]", stream=stream)
        paid = assert_miss(configurable.a.ask(key, body))
        # What cannot be kept is not waited for either.
        assert assert_miss(configurable.b.ask(key, body), "hit-for-miss").id != paid.id
    small = assert_miss(configurable.a.ask(key, f"{prompt} small"))
    assert_hit(configurable.b.ask(key, f"{prompt} small"), of=small)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_an_answer_past_its_time_is_served_while_another_is_fetched(configurable, prompt, stream):
    group, key = configurable, configurable.key(org="acme")
    group.configure(cache(ttl_seconds=1, stale_while_revalidate_seconds=3600))
    body = chat(prompt, stream=stream)
    paid = assert_miss(group.a.ask(key, body))
    # A gate that is opened stays open, so each case has its own.
    gate = f"revalidating-{stream}"
    group.provider.script(f"gate={gate}", 1, prompt)

    def past_its_time():
        answer = group.b.ask(key, body)
        return answer.cache_status == "stale" and answer
    stale = wait_until(past_its_time, "it is past its time")
    assert_stale(stale, "revalidating", of=paid)
    group.provider.wait_at(gate)
    for gateway in group.gateways:
        assert_stale(gateway.ask(key, body), "revalidating", of=paid)
    # One call for all of them, and no client behind it.
    assert group.provider.calls_of(prompt)["total"] == 2
    group.configure(cache(ttl_seconds=3600, stale_while_revalidate_seconds=3600))
    group.provider.release(gate)
    newer = wait_until(lambda: (answer := group.a.ask(key, body)).cache_status == "hit" and answer,
                       "its successor is stored")
    assert newer.id != paid.id
    assert group.provider.calls_of(prompt)["total"] == 2


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
@pytest.mark.parametrize("fault", ["status=500", "status=429", "reset"])
def test_an_answer_past_its_time_is_served_where_the_provider_fails(configurable, prompt, stream, fault):
    group, key = configurable, configurable.key(org="acme")
    group.configure(cache(ttl_seconds=1, stale_if_error_seconds=3600))
    body = chat(prompt, stream=stream)
    paid = assert_miss(group.a.ask(key, body))
    group.provider.script(fault, 1_000, prompt)
    stale = wait_until(lambda: (answer := group.b.ask(key, body)).cache_status == "stale" and answer,
                       "it is past its time")
    assert_stale(stale, "upstream-error", of=paid)
    # Who says how old an answer may be wants no other.
    refused = group.b.ask(key, body, headers={"cache-control": "max-age=3600"})
    assert refused.status >= 429 and refused.cache_status == "miss", refused


def test_what_was_invalidated_is_never_served_past_its_time(configurable, prompt):
    group, key = configurable, configurable.key(org="acme")
    group.configure(cache(ttl_seconds=1, stale_while_revalidate_seconds=3600, stale_if_error_seconds=3600))
    paid = assert_miss(group.a.ask(key, prompt))
    group.kt("cache", "purge", "--org", "acme", "--model", "gpt-4o")
    group.provider.script("status=500", 1, prompt)
    gone = wait_until(lambda: (answer := group.b.ask(key, prompt)).cache_status == "miss" and answer, "it is gone")
    assert gone.status == 500
    assert assert_miss(group.b.ask(key, prompt)).id != paid.id


def assert_stale(answer, detail, of):
    assert answer.status == 200 and answer.broke is None, answer
    assert answer.outcome == ("stale", detail) and answer.id == of.id, answer
    assert int(answer.headers["age"]) >= 0 and "; hit; ttl=" in answer.headers["cache-status"], answer
    return answer


def test_an_organization_beyond_its_bound_evicts_its_own_and_nobody_elses(configurable, prompt):
    quiet, noisy = configurable.key(org="quiet"), configurable.key(org="noisy")
    paid = assert_miss(configurable.a.ask(quiet, prompt))
    configurable.configure(cache(memory={"max_bytes": 1 << 20, "max_bytes_per_org": 1 << 16}))
    asked = [f"{prompt} {number} [[fake: size=20000]]" for number in range(12)]
    answers = [assert_miss(configurable.a.ask(noisy, question)) for question in asked]
    assert_hit(configurable.b.ask(noisy, asked[-1]), of=answers[-1])
    assert_miss(configurable.b.ask(noisy, asked[0]), "request")
    assert_hit(configurable.b.ask(quiet, prompt), of=paid)


def test_where_all_need_more_than_there_is_the_one_that_holds_the_most_gives_way(configurable, prompt):
    quiet, noisy = configurable.key(org="quiet"), configurable.key(org="noisy")
    configurable.configure(cache(memory={"max_bytes": 1 << 16}))
    paid = assert_miss(configurable.a.ask(quiet, prompt))
    for number in range(12):
        assert_miss(configurable.a.ask(noisy, f"{prompt} {number} [[fake: size=20000]]"))
    assert configurable.sidecar.gauge("kt_entry_bytes") <= 1 << 16
    # Not asked for since, and still there.
    assert_hit(configurable.b.ask(quiet, prompt), of=paid)
