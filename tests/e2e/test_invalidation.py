"""What is invalidated is served by nobody any more, whatever had it: entries, workers' memories, calls under way."""

import concurrent.futures
import json

import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import Group, chat
from processes import wait_until


def purge(group, *selector, org="acme"):
    """What the sidecar says it did."""
    return json.loads(group.kt("cache", "purge", "--json", "--org", org, *selector).stdout)


def stats(group):
    return json.loads(group.kt("cache", "stats", "--json").stdout)


def key_of(group, key, prompt):
    return group.sidecar.explain(key, "gw-a", chat(prompt))["key"]


def known_to_a_worker(gateway, key, prompt, client):
    """Asks until the worker behind this connection has the answer in its own memory."""
    return wait_until(lambda: (answer := gateway.ask(key, prompt, client=client)).detail == "l1" and answer,
                      f"{gateway.id} has it in memory")


SELECTORS = {
    "codebase": lambda group, key, prompt: ["--codebase", "acme/web"],
    "model": lambda group, key, prompt: ["--model", "gpt-4o"],
    "policy": lambda group, key, prompt: [
        "--policy", group.sidecar.explain(key, "gw-a", chat(prompt))["gates"]["policy"]],
    "key": lambda group, key, prompt: ["--key", key_of(group, key, prompt)],
    "all": lambda group, key, prompt: ["--all"],
}


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.fault(49)
def test_what_is_purged_is_gone_from_the_memory_of_another_gateway_too(configurable, prompt, selector):
    group = configurable
    key = group.key(org="acme", codebases=["acme/web"])
    paid = assert_miss(group.a.ask(key, prompt))
    with group.b.client() as client:
        assert_hit(known_to_a_worker(group.b, key, prompt, client), of=paid)
        done = purge(group, *SELECTORS[selector](group, key, prompt))
        assert done["kind"] == {"key": "entry", "all": "org"}.get(selector, selector)
        # At the latest with the next answer of the change feed; whoever still has it is polled until it has not.
        newer = wait_until(lambda: (answer := group.b.ask(key, prompt, client=client)).id != paid.id and answer,
                           "the worker's memory is empty")
        told = "generation" if selector in ("codebase", "model", "policy") else "request"
        assert_miss(newer, told)
        assert_hit(group.b.ask(key, prompt, client=client), of=newer)
    for gateway in group.gateways:
        assert_hit(gateway.ask(key, prompt), of=newer)


def test_what_does_not_belong_to_it_stays(configurable, prompt):
    group = configurable
    ours, theirs = group.key(org="acme", codebases=["acme/web"]), group.key(org="globex", codebases=["acme/web"])
    paid = {key: assert_miss(group.a.ask(key, prompt)) for key in (ours, theirs)}
    for selector in (["--codebase", "acme/api"], ["--model", "gpt-4o-mini"], ["--fabric", "f-1"],
                     ["--policy", "00" * 32], ["--key", "00" * 32], ["--key", key_of(group, theirs, prompt)]):
        purge(group, *selector)
        for key in paid:
            assert_hit(group.b.ask(key, prompt), of=paid[key])
    done = purge(group, "--all")
    assert done["entries_dropped"] > 0 and done["entries_held"] == 0
    assert_hit(group.b.ask(theirs, prompt), of=paid[theirs])
    assert_miss(group.a.ask(ours, f"{prompt} new"))


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
@pytest.mark.fault(47)
def test_an_answer_under_way_is_served_and_kept_for_nobody(configurable, prompt, stream):
    group = configurable
    key = group.key(org="acme")
    gate = f"under-way-{stream}"
    body = chat(f"{prompt} [[fake: gate={gate}@body]]", stream=stream)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(group.a.ask, key, body)
        group.provider.wait_at(gate)
        purge(group, "--all")
        # Who asks now is not given what was asked for before.
        asked_after = pool.submit(group.b.ask, key, body)
        group.provider.wait_at(gate, 2)
        group.provider.release(gate)
        before, after = asked.result(), asked_after.result()
    assert_miss(before)
    assert_miss(after)
    assert before.id != after.id
    assert_hit(group.a.ask(key, body), of=after)
    assert_hit(group.b.ask(key, body), of=after)


def test_after_a_purge_requests_wait_for_each_other_again(configurable, crowd, prompt):
    group = configurable
    key, gate = group.key(org="acme"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    group.provider.script("no_store", 2, prompt=prompt)
    assert_miss(group.a.ask(key, body), "request")
    assert_miss(group.b.ask(key, body), "hit-for-miss")
    purge(group, "--model", "gpt-4o")
    lives = crowd.ask(group.gateways, key, body, count=20)
    group.sidecar.wait_followers(19)
    group.provider.release(gate)
    answers = [live.whole() for live in lives]
    assert len({answer.id for answer in answers}) == 1
    assert group.provider.calls_of(prompt)["total"] == 3
    assert_hit(group.a.ask(key, body), of=answers[0])


def test_a_purge_that_was_acknowledged_holds_after_a_crash(prompt):
    with Group() as group:
        key = group.key(org="acme")
        assert_miss(group.a.ask(key, prompt))
        first = purge(group, "--model", "gpt-4o")["generation"]
        whole = purge(group, "--all")["generation"]
        assert whole > first
        group.sidecar.process.kill()
        group.sidecar.restart()
        after = stats(group)
        assert (after["generation"], after["invalidated_tags"]) == (whole, 1)
        assert purge(group, "--model", "gpt-4o")["generation"] > whole
        wait_until(lambda: group.a.ask(key, prompt).cache_status == "miss", "the gateway has the new sidecar")
        assert_hit(group.a.ask(key, prompt))


def test_an_operator_sees_an_entry_and_changes_nothing_by_it(configurable, prompt):
    group = configurable
    key = group.key(org="acme", codebases=["acme/web"])
    paid = assert_miss(group.a.ask(key, prompt))
    digest = key_of(group, key, prompt)
    entry = json.loads(group.kt("cache", "get", digest, "--org", "acme", "--json").stdout)
    assert entry["is_current"] and entry["shape"] == "json" and entry["fresh_ms"] > 0
    assert entry["gates"]["codebases"] == ["acme/web"]
    assert (entry["served_by"], entry["body_bytes"]) == ("openai/gpt-4o", len(paid.body))
    assert "body" not in entry
    by_request = ["cache", "get", "--key", key.key_id, "--request", "-"]
    shown = group.kt(*by_request, stdin=json.dumps(chat(prompt))).stdout
    assert digest in shown and "fresh for" in shown and "acme/web" in shown
    body = group.kt(*by_request, "--body", stdin=json.dumps(chat(prompt))).stdout
    assert json.loads(body) == paid.json()
    refused = group.kt("cache", "get", digest, "--org", "globex", check=False)
    assert refused.returncode != 0 and "there is no entry of 'globex'" in refused.stderr
    purge(group, "--model", "gpt-4o")
    for _ in range(2):
        entry = json.loads(group.kt("cache", "get", digest, "--org", "acme", "--json").stdout)
        assert not entry["is_current"]
        said = group.sidecar.explain(key, "gw-a", chat(prompt))
        assert (said["outcome"], said["reason"]) == ("miss", "generation")


def test_the_cache_says_what_it_holds_and_for_whom(configurable, prompt):
    group = configurable
    ours, theirs = group.key(org="stats-one"), group.key(org="stats-two")
    before = stats(group)
    for number in range(3):
        assert_miss(group.a.ask(ours, f"{prompt} {number}"))
    assert_miss(group.a.ask(theirs, prompt))
    assert_hit(group.b.ask(theirs, prompt))
    after = stats(group)
    held = {org["org"]: org["entries"] for org in after["orgs"]}
    assert (held["stats-one"], held["stats-two"]) == (3, 1)
    assert sum(org["entry_bytes"] for org in after["orgs"]) == after["entry_bytes"]
    assert after["entries"] - before["entries"] == 4
    assert after["misses"] - before["misses"] == 4
    assert after["hits"] - before["hits"] == 1
    said = group.kt("cache", "stats").stdout
    assert f"entries={after['entries']} " in said and "stats-one" in said


@pytest.mark.parametrize("arguments, said", [
    (["--org", "acme"], "required"),
    (["--all"], "--org"),
    (["--org", "acme", "--all", "--model", "m"], "cannot be used with"),
    (["--org", "a b", "--all"], "'org'"),
    (["--org", "acme", "--key", "x"], "'key' must be 64"),
    (["--org", "acme", "--policy", "x"], "'policy' must be 64"),
    (["--org", "acme", "--codebase", ""], "'codebase' must not be empty"),
])
def test_a_purge_that_is_not_understood_names_the_field(group, arguments, said):
    before = stats(group)["generation"]
    done = group.kt("cache", "purge", *arguments, check=False)
    assert done.returncode != 0 and said in done.stderr, done.stderr
    assert stats(group)["generation"] == before


def test_nobody_invalidates_through_a_gateway(group, key):
    for path in ("/v1/invalidate", "/v1/cache", "/v1/cache/entry"):
        assert_refused(group.a.post(key, b'{"org":"acme","all":true}', path=path), 404)
