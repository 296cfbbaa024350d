"""The configuration changes while the group serves: checked, versioned, live on every gateway, and no request is lost."""

import itertools
import json
import threading
import time
import uuid

import pytest

from answers import assert_hit, assert_miss, assert_refused
from fleet import Fleet
from group import FOUR, chat, merged
from processes import wait_until
from policies import encoded
from wallet import Paying, cost

# What is promised for a change: live everywhere within this time; and what a busy machine may add.
LIVE_S = 5.0 + 10.0
CHANGES = 200
# So many at each gateway.
CLIENTS = 2
# Two versions, and what each lets through: a mix of them would be seen in the status, the model, the price, or what is
# replaced, in requests by the filter and in answers by the sidecar.
ALLOWED = {"odd": "gpt-4o", "even": "gpt-4o-mini"}
BLOCKED = {"odd": 451, "even": 403}
# What each replaces of the words that every request and every answer has: so many that each changes the number of tokens.
WORDS = {"odd": "project grey falcon", "even": "white heron"}
SAID = f"On {WORDS['odd']} and {WORDS['even']}."
# Micro-dollars for a million tokens of either kind.
RATES = {"odd": 1_000_000, "even": 30_000_000}


FAKE = f"[[fake: ttfb_ms=50, says={encoded(SAID)}]]"


def version(name):
    """The change that makes the configuration the version of this name."""
    usd = RATES[name] // 1_000_000
    price = {"input_usd_per_million": usd, "output_usd_per_million": usd}
    return {
        "policies": {"block_status": BLOCKED[name], "chain": ["content-policy", "model-allowlist"], "policy": {
            "model-allowlist": {"models": [ALLOWED[name]]},
            "content-policy": {"action": "redact", "terms": [WORDS[name]]}}},
        "pricing": {"models": {"openai": {model: price for model in ALLOWED.values()}}},
    }


def redacted(name, text):
    return text.replace(WORDS[name], "[REDACTED]")


def allowlist(*models):
    return {"policies": {"chain": ["model-allowlist"], "policy": {"model-allowlist": {"models": list(models)}}}}


def apply(group, config, **more):
    with group.sidecar.admin() as admin:
        return admin.post("/v1/config", json={"text": json.dumps(config), "by": "e2e", **more})


def history(group):
    with group.sidecar.admin() as admin:
        return admin.get("/v1/config").raise_for_status().json()["versions"]


def wait_everywhere(sidecar, what):
    """Waits until every live gateway runs what the sidecar has; returns how long that took."""
    began = time.monotonic()
    def everywhere():
        status = sidecar.status()
        runs = [gateway["config"] for gateway in status["gateways"] if gateway["state"] == "live"]
        return runs and set(runs) == {status["config"]["version"]}
    wait_until(everywhere, what)
    return time.monotonic() - began


class Load:
    """Clients that ask for one model and the other at all gateways without a pause, and what they saw. The provider takes
    its time: many calls are under way when a version changes, and the machine has something left for the changes."""

    def __init__(self, group, key):
        self.seen, self.wrong, self._done = [], [], threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(gateway, key), daemon=True)
            for gateway in group.gateways for _ in range(CLIENTS)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def some_decided_by(self, name):
        """Asks whether one more answer than now was decided by it, or something went wrong."""
        def count():
            return sum(decided == name for decided, _ in list(self.seen))
        before = count()
        return lambda: self.wrong or count() > before

    def _ask(self, gateway, key):
        models = itertools.cycle(ALLOWED.values())
        with gateway.client() as client:
            while not self._done.is_set():
                model = next(models)
                try:
                    body = {**chat(f"{SAID} What is {uuid.uuid4()}? {FAKE}"), "model": model}
                    answer = gateway.ask(key, body, client=client)
                    self.seen.append(self._decided(model, answer))
                except Exception as error:  # Whatever it is, it is a request that was lost.
                    self.wrong.append(repr(error))

    def _decided(self, model, answer):
        """By which version it was decided; fails where it is none, or a bit of both."""
        if answer.status == 200:
            [name] = [name for name, allowed in ALLOWED.items() if allowed == model]
            usage, told = answer.json()["usage"], answer.json()["choices"][0]["message"]["content"]
            assert told == redacted(name, SAID), (name, told)
            asked = redacted(name, f"{SAID} What is it? {FAKE}")
            assert usage["prompt_tokens"] == len(asked.split()), (name, usage)
            rates = (RATES[name], RATES[name])
            due = cost(usage["prompt_tokens"], usage["completion_tokens"], rates)
            told = round(float(answer.headers["x-kt-cost-usd"]) * 1_000_000)
            assert told == due, (name, told, due, answer)
            return name, due
        [name] = [name for name, allowed in ALLOWED.items() if allowed != model]
        assert_refused(answer, BLOCKED[name], "policy_blocked")
        return name, 0


def test_200_changes_under_load_lose_no_request_and_each_is_decided_by_one_version():
    with Paying(version("odd"), gateways=FOUR[:2]) as group:
        wallet = group.wallet(micro_usd=1_000_000_000)
        wait_everywhere(group.sidecar, "every gateway has its first version")
        slowest, refused = 0.0, 0
        with Load(group, wallet.key()) as load:
            for number in range(CHANGES):
                name = ("even", "odd")[number % 2]
                config = merged(group.config, version(name), {"pack": {"version": f"0.0.{number}"}})
                by_file = number % 20 in (3, 7, 11, 19)
                if number % 10 == 9:
                    refused += 1
                    break_it(group, config, number, by_file)
                    continue
                before = time.monotonic()
                if by_file:
                    group.write_config(config)
                    wait_until(lambda: version_of(group, config), "the saved file is live in the sidecar")
                else:
                    reply = apply(group, config)
                    assert reply.status_code == 200, reply.text
                wait_everywhere(group.sidecar, f"change {number} is live everywhere")
                slowest = max(slowest, time.monotonic() - before)
                wait_until(load.some_decided_by(name), f"change {number} has decided")
        assert not load.wrong, load.wrong[:5]
        # Every answer's cost is what the wallet was charged: what set it aside is what booked it.
        spent = sum(due for _, due in load.seen)
        wait_until(lambda: wallet.pending == 0, "every call is booked")
        assert wallet.available == 1_000_000_000 - spent
        assert wallet.audit()["breaches_total"] == 0
        assert slowest < LIVE_S, f"{slowest:.1f} s"
        changes = 'kt_config_changes_total{source="%s",result="%s"} %d'
        metrics = group.sidecar.metrics()
        told = {(source, result): changes % (source, result, count) for source, result, count in [
            ("file", "live", 30), ("apply", "live", 150), ("file", "refused", 10), ("apply", "refused", 10)]}
        assert all(line in metrics for line in told.values()), told
        assert refused == 20
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0
        print(f"{len(load.seen)} requests, the slowest change took {slowest:.2f} s")


def version_of(group, config):
    """Whether this configuration is what is live."""
    with group.sidecar.admin() as admin:
        live = admin.get("/v1/config/live").raise_for_status().json()["text"]
    return json.loads(live) == config


def break_it(group, config, number, by_file):
    """A change that is refused, in one of several ways, and the end of it."""
    before = group.sidecar.status()["config"]["version"]
    target = group.targets()[0]
    bad = merged(config, [
        {"workflw_cache": {}},
        {"providers": {"targets": [{**target, "id": "another"}]}},
        {"policies": {"chain": ["no-such-policy"]}},
        {"gateway": {"port": 1}},
    ][number // 10 % 4])
    if by_file:
        good = group.config_path.read_bytes()
        group.write_config(bad)
        wait_until(lambda: group.sidecar.status()["status"] == "degraded", "the bad file is reported")
        mended = group.folder / "mended"
        mended.write_bytes(good)
        mended.rename(group.config_path)
        wait_until(lambda: group.sidecar.status()["status"] == "ok", "the file is mended")
    else:
        reply = apply(group, bad)
        assert reply.status_code == 422 and reply.json()["error"]["code"] == "config_refused", reply.text
    assert group.sidecar.status()["config"]["version"] == before


def test_an_applied_version_is_in_the_file_and_live_on_every_gateway_when_kt_says_so(configurable, prompt):
    group, key = configurable, configurable.key(org="acme")
    paid = assert_miss(group.a.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}))
    new = group.folder / "new.yaml"
    new.write_text(json.dumps(merged(group.config, allowlist("gpt-4o"))))
    assert "can take the place of" in group.kt("config", "apply", new, "--dry-run").stdout
    assert_hit(group.b.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}), of=paid)
    told = group.kt("config", "apply", new).stdout
    assert "live on 2 gateways: gw-a, gw-b" in told
    for gateway in group.gateways:
        assert_refused(gateway.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}), 409, "policy_blocked")
    assert group.config_path.read_text() == new.read_text()
    status = group.sidecar.status()
    assert [gateway["config"] for gateway in status["gateways"]] == [status["config"]["version"]] * 2
    shown = group.kt("gateway", "status").stdout
    assert shown.count(status["config"]["version"]) == 3, shown
    [newest, *_] = group.kt("config", "history").stdout.splitlines()[1:]
    assert "apply" in newest and "live" in newest and status["config"]["version"] in newest, newest
    assert "is live already" in group.kt("config", "apply", new).stdout

    group.kt("config", "rollback")
    assert_hit(group.b.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}), of=paid)
    assert json.loads(group.config_path.read_text()) == group.config


def test_what_is_refused_is_named_and_can_be_taken_back(configurable, prompt):
    group, key = configurable, configurable.key(org="acme")
    wait_everywhere(group.sidecar, "the group is at rest")
    live = group.sidecar.status()["config"]["version"]
    bad = group.folder / "bad.yaml"
    bad.write_text(json.dumps(merged(group.config, {"gateway": {"port": 1}})))
    refused = group.kt("config", "apply", bad, check=False)
    assert refused.returncode == 1 and "gateway.port changed: restart" in refused.stderr, refused
    assert group.sidecar.status()["status"] == "ok", "the file is as it was"
    shown = group.kt("gateway", "status")
    assert "the last that was refused" in shown.stderr and "gateway.port" in shown.stderr, shown

    worse = json.dumps(merged(group.config, {"workflw_cache": {}}))
    group.config_path.write_text(worse)
    wait_until(lambda: group.sidecar.status()["status"] == "degraded", "the bad file is reported")
    assert "the configuration on disk is not in force" in group.kt("gateway", "status").stderr
    assert "+" in group.kt("config", "diff").stdout and "workflw_cache" in group.kt("config", "diff").stdout
    assert_miss(group.a.ask(key, prompt))
    taken_back = group.kt("config", "rollback")
    assert "is live already" in taken_back.stdout and "lies in" in taken_back.stderr, taken_back
    assert group.config_path.with_name("policy-config.yaml.replaced").read_text() == worse
    assert group.sidecar.status()["status"] == "ok"
    assert group.sidecar.status()["config"]["version"] == live
    assert "are the same" in group.kt("config", "diff").stderr
    told = group.kt("config", "history").stdout
    assert "refused: " in told and "workflw_cache" in told, told


def test_versions_outlive_the_sidecar(prompt):
    with Paying(gateways=FOUR[:1]) as group:
        first = group.sidecar.status()["config"]["version"]
        reply = apply(group, merged(group.config, allowlist("gpt-4o")))
        assert reply.status_code == 200 and reply.json()["before"] == first, reply.text
        group.sidecar.process.kill()
        group.sidecar.restart()
        assert [row["source"] for row in history(group)] == ["apply", "start"]
        assert group.sidecar.status()["config"]["version"] == reply.json()["version"]
        told = group.kt("config", "rollback", first[:8])
        assert f"version {first} is live" in told.stdout, told
        assert [row["number"] for row in history(group) if row["is_live"]] == [3]
        # A sidecar that was just started has not heard of its gateway yet, and so did not wait for it.
        wait_everywhere(group.sidecar, "the gateway runs what is live")
        key = group.wallet(micro_usd=1_000_000).key()
        assert_miss(group.a.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}))


@pytest.fixture(scope="module")
def fleet():
    """Two gateways with a sidecar each, and one file for both."""
    with Fleet(gateways=FOUR[:2]) as fleet:
        yield fleet


def test_sidecars_that_have_one_file_are_changed_by_one_apply(fleet, prompt):
    key = fleet.key(org="acme")
    began = time.monotonic()
    reply = apply(fleet, merged(fleet.config, allowlist("gpt-4o")))
    assert reply.status_code == 200, reply.text
    after = reply.json()["version"]
    for sidecar in fleet.sidecars:
        wait_until(lambda: sidecar.status()["config"]["version"] == after, "the other sidecar has seen the file")
        wait_everywhere(sidecar, "its gateway has it")
        assert f'kt_config_version_info{{version="{after}"}} 1' in sidecar.metrics()
    assert time.monotonic() - began < LIVE_S
    for gateway in fleet.gateways:
        assert_refused(gateway.ask(key, {**chat(prompt), "model": "gpt-4o-mini"}), 409, "policy_blocked")
