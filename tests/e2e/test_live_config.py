"""A saved change is live at every gateway without a restart: policies, tiers, the cache itself."""

import json

import pytest

from answers import assert_hit, assert_miss, assert_refused, until_remembered
from group import Group, chat, merged
from processes import wait_until


def allowlist(*models):
    return {"policies": {"chain": ["model-allowlist"], "policy": {"model-allowlist": {"models": list(models)}}}}


def redacts(*terms):
    """A policy that changes answers, which nobody may get around."""
    return {"gateway": {"on_sidecar_loss": "unavailable"}, "policies": {
        "chain": ["content-policy"], "policy": {"content-policy": {"action": "redact", "terms": list(terms)}}}}


def cache(**fields):
    return {"workflow_cache": fields}


def test_another_policy_misses_and_is_told_so(configurable, prompt):
    key = configurable.key(org="acme")
    paid = assert_miss(configurable.a.ask(key, prompt))
    configurable.configure(redacts("project falcon"))
    changed = assert_miss(configurable.b.ask(key, prompt), "policy")
    assert changed.id != paid.id
    configurable.configure({})
    assert_hit(configurable.b.ask(key, prompt), of=paid)


def test_a_policy_that_only_blocks_more_requests_leaves_the_cache_as_it_is(configurable, prompt):
    key = configurable.key(org="acme")
    with configurable.a.client() as client:
        ask = lambda text, **fields: configurable.a.ask(key, {**chat(text), **fields}, client=client)
        falcon = f"{prompt} project falcon"
        paid, mini = assert_miss(ask(prompt)), assert_miss(ask(prompt, model="gpt-4o-mini"))
        named = assert_miss(ask(falcon))
        until_remembered(lambda: ask(falcon), of=named)
        stricter = {"content-policy": {"apply_to": ["input"], "terms": ["project falcon"]}, "model-allowlist": {"models": ["gpt-4o"]}}
        configurable.configure({"policies": {"chain": list(stricter), "policy": stricter}})
        for gateway in configurable.gateways:
            assert_hit(gateway.ask(key, prompt), of=paid)
        for text, fields in [(falcon, {}), (prompt, {"model": "gpt-4o-mini"})]:
            assert_refused(ask(text, **fields), 409, "policy_blocked")
            body = json.dumps({**chat(text), **fields})
            explained = configurable.kt("explain", "--key", key.key_id, "-", stdin=body, check=False)
            assert explained.returncode != 0 and "policy" in explained.stderr, explained
        configurable.configure({})
        assert_hit(ask(falcon), of=named)
        assert_hit(ask(prompt, model="gpt-4o-mini"), of=mini)


@pytest.mark.fault(48)
def test_an_answer_that_was_asked_for_under_another_policy_is_kept_for_that_one(configurable, crowd, prompt):
    group, gate = configurable, prompt[8:16]
    key, body = group.key(org="acme"), chat(f"{prompt} [[fake: gate={gate}]]")
    under_way = crowd.one(group.a, key, body)
    group.provider.wait_at(gate)
    group.configure(redacts("project falcon"))
    meanwhile = crowd.one(group.b, key, body)
    group.provider.wait_at(gate, 2)
    group.provider.release(gate)
    old, new = assert_miss(under_way.whole()), assert_miss(meanwhile.whole())
    assert old.id != new.id, "nobody follows a call of another policy"
    assert_hit(group.a.ask(key, body), of=new)
    group.configure({})
    assert_hit(group.b.ask(key, body), of=old)


def test_a_policy_refuses_what_it_does_not_allow(configurable, prompt):
    key = configurable.key(org="acme")
    assert_miss(configurable.a.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}))
    configurable.configure(allowlist("gpt-4o"))
    before = configurable.provider.total()
    for gateway in configurable.gateways:
        answer = gateway.ask(key, {**chat(prompt), "model": "gpt-4o-mini"})
        assert_refused(answer, 409, "policy_blocked")
        assert answer.headers["x-should-retry"] == "false"
    assert configurable.provider.total() == before
    models = [model.id for model in configurable.a.sdk(key).models.list()]
    assert models == ["gpt-4o"]


def test_the_status_of_a_refusal_can_be_chosen(configurable, prompt):
    key = configurable.key(org="acme")
    change = allowlist("gpt-4o")
    change["policies"]["block_status"] = 451
    configurable.configure(change)
    assert_refused(configurable.a.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}), 451, "policy_blocked")


def test_another_tier_misses_and_is_told_so(configurable, prompt):
    key = configurable.key(org="acme")
    paid = assert_miss(configurable.a.ask(key, prompt))
    configurable.configure(cache(default_tier="private_edge_cache"))
    changed = assert_miss(configurable.b.ask(key, prompt), "tier")
    assert changed.id != paid.id


def test_private_edge_cache_keeps_each_keys_entries_to_itself(configurable, prompt):
    configurable.configure(cache(default_tier="private_edge_cache"))
    ada, bob = configurable.key(org="acme", user="ada"), configurable.key(org="acme", user="bob")
    paid = assert_miss(configurable.a.ask(ada, prompt))
    # The same key at another gateway of the group still shares: the key is the scope, not the gateway.
    assert_hit(configurable.b.ask(ada, prompt), of=paid)
    other = assert_miss(configurable.b.ask(bob, prompt), "gateway-key")
    assert other.id != paid.id


def test_a_physically_private_cache_keeps_each_gateways_entries_to_itself(configurable, prompt):
    configurable.configure(cache(physical_gateway_private_cache_only=True))
    key, other = configurable.key(org="acme"), configurable.key(org="acme")
    at_a = assert_miss(configurable.a.ask(key, prompt))
    at_b = assert_miss(configurable.b.ask(key, prompt), "gateway")
    assert at_a.id != at_b.id
    assert_hit(configurable.a.ask(other, prompt), of=at_a)
    assert_hit(configurable.b.ask(other, prompt), of=at_b)


def test_without_a_cache_every_request_is_checked_all_the_same(configurable, prompt):
    key = configurable.key(org="acme")
    configurable.configure({**cache(enabled=False), **allowlist("gpt-4o")})
    first, second = configurable.a.ask(key, prompt), configurable.a.ask(key, prompt)
    assert [answer.outcome for answer in (first, second)] == [("bypass", "disabled")] * 2
    assert first.id != second.id
    before = configurable.provider.total()
    assert_refused(configurable.a.ask(None, prompt), 401, "missing_api_key")
    blocked = {**chat(prompt), "model": "gpt-4o-mini"}
    assert_refused(configurable.a.ask(key, blocked), 409, "policy_blocked")
    assert_refused(configurable.a.ask(key, {**blocked, "model": "no-such"}), 404, "model_not_found")
    assert_refused(configurable.a.post(key, b"{"), 400, "invalid_json")
    assert configurable.provider.total() == before


@pytest.mark.parametrize("directive", ["no-store", "no-cache"])
def test_a_client_that_wants_no_cache_is_checked_all_the_same(configurable, prompt, directive):
    key = configurable.key(org="acme")
    configurable.configure(allowlist("gpt-4o"))
    wants = {"cache-control": directive}
    paid = assert_miss(configurable.a.ask(key, prompt))
    fresh = configurable.a.ask(key, prompt, headers=wants)
    assert fresh.status == 200 and fresh.outcome == ("bypass", "client-no-cache"), fresh
    assert fresh.id != paid.id
    # What such a client got is not what the others get.
    assert_hit(configurable.a.ask(key, prompt), of=paid)
    before = configurable.provider.total()
    blocked = {**chat(prompt), "model": "gpt-4o-mini"}
    assert_refused(configurable.a.ask(key, blocked, headers=wants), 409, "policy_blocked")
    assert_refused(configurable.a.ask(None, prompt, headers=wants), 401, "missing_api_key")
    assert configurable.provider.total() == before


def test_a_bad_file_keeps_the_last_good_configuration_and_says_so(configurable, prompt):
    key = configurable.key(org="acme")
    before = configurable.sidecar.status()
    configurable.write_config({**configurable.config, "workflw_cache": {}})
    status = wait_until(
        lambda: (now := configurable.sidecar.status())["status"] == "degraded" and now,
        "the sidecar reports the bad file")
    assert status["snapshot"] == before["snapshot"]
    assert any("workflw_cache" in error for error in status["config_errors"]), status
    assert configurable.sidecar.health().json()["status"] == "degraded"
    assert_miss(configurable.a.ask(key, prompt))
    configurable.write_config(configurable.config)
    wait_until(lambda: configurable.sidecar.status()["status"] == "ok", "the sidecar is content again")


def test_an_edit_of_the_targets_waits_for_a_restart_and_harms_no_traffic(configurable, prompt):
    key = configurable.key(org="acme")
    before = configurable.sidecar.status()
    # One edit for all: models move to a target that no Envoy has, which goes elsewhere, and the cache is turned off.
    target = configurable.target()
    moved = [{**target, "models": ["gpt-4o-mini"]},
             {**target, "id": "moved", "models": ["gpt-4o"], "base_url": "http://127.0.0.1:9"}]
    configurable.write_config(merged(configurable.config, {"providers": {"targets": moved}}, cache(enabled=False)))
    status = wait_until(
        lambda: (now := configurable.sidecar.status())["status"] == "degraded" and now,
        "the sidecar reports that it needs a restart")
    [error] = status["config_errors"]
    assert error.endswith("providers.targets changed: restart the gateways and the sidecar to put it in force "
                          "(target 'moved' is new)"), error
    assert status["snapshot"] == before["snapshot"] and status["cache_enabled"]
    assert configurable.sidecar.health().json()["status"] == "degraded"
    shown = configurable.kt("gateway", "status")
    assert "providers.targets changed" in shown.stdout + shown.stderr
    for model in ("gpt-4o", "gpt-4o-mini"):
        body = {**chat(prompt), "model": model}
        paid = assert_miss(configurable.a.ask(key, body))
        assert_hit(configurable.b.ask(key, body), of=paid)

    # The same target with other models is live.
    configurable.configure({"providers": {"targets": [{**target, "models": ["gpt-4o"]}]}})
    assert configurable.sidecar.status()["status"] == "ok"
    assert_refused(configurable.b.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}), 404, "model_not_found")


def test_a_restart_puts_other_targets_in_force(prompt):
    with Group() as group:
        key = group.key(org="acme")
        target = group.target()
        renamed = merged(group.config, {"providers": {"targets": [{**target, "id": "renamed"}]}})
        group.write_config(renamed)
        wait_until(lambda: group.sidecar.status()["status"] == "degraded", "the sidecar needs a restart")
        assert_miss(group.a.ask(key, prompt))
        for process in (*(gateway.process for gateway in group.gateways), group.sidecar.process):
            process.terminate()
        group.start_sidecar()
        for gateway in group.gateways:
            gateway.process.start()
            wait_until(gateway.is_ready, f"{gateway.id} is ready")
        assert group.sidecar.status()["status"] == "ok"
        assert group.sidecar.explain(key, "gw-a", chat(prompt))["target"] == "renamed"
        assert_miss(group.a.ask(key, prompt))


def test_what_was_private_stays_private_when_the_tier_is_shared_again(configurable, prompt):
    ada, bob = configurable.key(org="acme"), configurable.key(org="acme")
    configurable.configure(cache(default_tier="private_edge_cache"))
    private = assert_miss(configurable.a.ask(ada, prompt))
    configurable.configure({})
    shared = assert_miss(configurable.a.ask(bob, prompt), "tier")
    assert shared.id != private.id


def test_an_entry_ends_with_its_time(configurable, prompt):
    key = configurable.key(org="acme")
    configurable.configure(cache(ttl_seconds=1))
    paid = assert_miss(configurable.a.ask(key, prompt))
    after = wait_until(
        lambda: (answer := configurable.b.ask(key, prompt)).id != paid.id and answer, "the entry's time has passed")
    assert_miss(after, "expired")
