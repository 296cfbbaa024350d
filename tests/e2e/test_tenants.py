"""Hosted mode: one gateway, many organizations, each decided by its own pack and called with its own credential."""

import hashlib
import json
import subprocess
import uuid

import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import Group, chat
from processes import ROOT, Process, binary_dir, wait_until

ORGS = ("acme", "globex")
BOTH = ["gpt-4o", "gpt-4o-mini"]


def secret_of(org):
    return f"sk-of-{org}"


def pack(org, **more):
    target = {"id": "openai", "secret_key_ref": {"env": f"KEY_OF_{org.upper()}"}}
    return {"providers": {"targets": [target]}, **more}


def allowlist(*models):
    return {"policies": {"chain": ["model-allowlist"], "policy": {"model-allowlist": {"models": list(models)}}}}


class Hosted(Group):
    """A group whose one sidecar has tenants."""

    def __init__(self, **how):
        config = {"tenants": {"folder": "tenants"}, "gateway": {"on_sidecar_loss": "unavailable"}}
        super().__init__(config=config, **how)
        (self.folder / "tenants").mkdir()
        for org in ORGS:
            self.write_pack(org, pack(org))
        # It takes any credential, and tells which it was.
        self.provider.process = Process("fake-provider", [
            binary_dir() / "fake-provider", "--listen", f"127.0.0.1:{self.provider.port}", "--delta-ms", "2",
        ], self.folder / "fake-provider.log")

    def target(self):
        return {**super().target(), "secret_key_ref": None} | {"models": BOTH}

    def targets(self):
        return [{name: value for name, value in self.target().items() if value is not None}]

    def start_sidecar(self):
        self.sidecar.process.start({f"KEY_OF_{org.upper()}": secret_of(org) for org in (*ORGS, "initech")})
        wait_until(self.sidecar.is_ready, "the sidecar is ready")

    def write_pack(self, org, value):
        draft = self.folder / "tenants" / f".{org}.draft"
        draft.write_text(value if isinstance(value, str) else json.dumps(value))
        draft.rename(self.folder / "tenants" / f"{org}.yaml")

    def models(self, gateway, key):
        reply = gateway.request("GET", "/v1/models", headers={"authorization": f"Bearer {key.secret}", "connection": "close"})
        return [model["id"] for model in reply.json()["data"]] if reply.status_code == 200 else reply.status_code

    def everywhere(self, key, expected):
        for gateway in self.gateways:
            for _ in range(8):
                if self.models(gateway, key) != expected:
                    return False
        return True

    def credentials_of(self, body):
        seen = self.provider.request_of(body)
        return [value for name, value in seen["headers"] if name in ("authorization", "x-api-key", "api-key")]


@pytest.fixture(scope="module")
def running():
    with Hosted() as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id


@pytest.fixture
def hosted(running):
    yield running
    (running.folder / "tenants" / "initech.yaml").unlink(missing_ok=True)
    for org in ORGS:
        running.write_pack(org, pack(org))
    keys = [running.key(org=org) for org in ORGS]
    wait_until(lambda: running.sidecar.status().get("tenant_errors", []) == [], "every pack is good again")
    wait_until(lambda: all(running.everywhere(key, BOTH) for key in keys), "every pack is the first again")


def test_each_organization_is_called_with_its_own_credential_at_every_gateway(hosted):
    keys = {org: hosted.key(org=org) for org in ORGS}
    for gateway in hosted.gateways:
        for org, key in keys.items():
            body = json.dumps(chat(f"who am I? {uuid.uuid4()}")).encode()
            headers = {"api-key": key.secret, "x-api-key": key.secret}
            assert gateway.post(key, body, headers=headers).status == 200
            assert hosted.credentials_of(body) == [f"Bearer {secret_of(org)}"]


def test_after_a_failure_the_next_call_is_made_with_the_same_organizations_credential(hosted, crowd, prompt):
    keys = [hosted.key(org=org) for org in ORGS]
    body = json.dumps(chat(prompt)).encode()
    hosted.provider.script("status=500", 1, prompt)
    lives = [crowd.one(gateway, key, body) for key in keys for gateway in hosted.gateways]
    assert [live.whole().status for live in lives].count(200) >= 3
    digest = hashlib.sha256(body).hexdigest()
    seen = [dict(map(tuple, request["headers"]))["authorization"] for request in hosted.provider.requests()
            if request["body_sha256"] == digest]
    # One call for each organization, and one more for whom the first has failed.
    assert len(seen) == 3 and set(seen) == {f"Bearer {secret_of(org)}" for org in ORGS}, seen


def test_equal_requests_of_two_organizations_share_nothing(hosted, prompt):
    acme, globex = (hosted.key(org=org) for org in ORGS)
    ours = assert_miss(hosted.a.ask(acme, prompt))
    theirs = assert_miss(hosted.b.ask(globex, prompt))
    assert ours.id != theirs.id
    assert_hit(hosted.b.ask(acme, prompt), of=ours)
    assert_hit(hosted.a.ask(globex, prompt), of=theirs)


def test_a_changed_pack_is_live_for_its_organization_and_no_other(hosted, prompt):
    acme, globex = (hosted.key(org=org) for org in ORGS)
    paid = assert_miss(hosted.a.ask(globex, prompt))
    hosted.write_pack("acme", pack("acme", **allowlist("gpt-4o")))
    wait_until(lambda: hosted.everywhere(acme, ["gpt-4o"]), "acme's pack is live")
    for gateway in hosted.gateways:
        blocked = {**chat(prompt), "model": "gpt-4o-mini"}
        assert_refused(gateway.ask(acme, blocked), 409, "policy_blocked")
        assert gateway.ask(globex, blocked).status == 200
    assert_hit(hosted.b.ask(globex, prompt), of=paid)


def test_a_tenant_comes_and_goes_while_the_gateway_runs(hosted, prompt):
    initech = hosted.key(org="initech")
    assert_refused(hosted.a.ask(initech, prompt), 403, "tenant_not_configured")
    hosted.write_pack("initech", pack("initech"))
    wait_until(lambda: hosted.everywhere(initech, BOTH), "the new tenant is served")
    for gateway in hosted.gateways:
        for _ in range(4):
            assert gateway.ask(initech, prompt).status == 200
    (hosted.folder / "tenants" / "initech.yaml").unlink()
    wait_until(lambda: hosted.everywhere(initech, 403), "the tenant is gone")
    for gateway in hosted.gateways:
        # Out of no worker's memory, either.
        assert_refused(gateway.ask(initech, prompt), 403, "tenant_not_configured")


def test_a_bad_pack_keeps_the_last_good_one_and_is_named(hosted, prompt):
    acme, globex = (hosted.key(org=org) for org in ORGS)
    paid = [assert_miss(hosted.a.ask(key, prompt)) for key in (acme, globex)]
    hosted.write_pack("acme", "{")
    wait_until(lambda: hosted.sidecar.status().get("tenant_errors"), "the bad pack is reported")
    said = hosted.kt("gateway", "status").stderr
    assert "acme.yaml:1" in said, said
    assert hosted.sidecar.gauge("kt_tenants") == 2 and hosted.sidecar.gauge("kt_tenants_refused") == 1
    assert '"a tenant\'s file is not in force' in hosted.sidecar.process.log.read_text()
    for key, first in zip((acme, globex), paid):
        assert_hit(hosted.b.ask(key, prompt), of=first)
    checked = hosted.kt("config", "check", hosted.config_path, check=False)
    assert checked.returncode != 0 and "acme.yaml:1" in checked.stderr, checked.stderr


def test_no_credential_is_in_a_log_a_status_or_envoys_configuration(hosted, prompt):
    for org in ORGS:
        assert hosted.a.ask(hosted.key(org=org), prompt).status == 200
    texts = [process.log.read_text() for process in hosted.processes()[1:]]
    texts += [path.read_text(errors="replace") for path in hosted.a.run_dir.rglob("*") if path.is_file()]
    texts += [json.dumps(hosted.sidecar.status()), hosted.sidecar.metrics()]
    for org in ORGS:
        assert not [text for text in texts if secret_of(org) in text]


def test_the_example_is_good():
    checked = subprocess.run([binary_dir() / "kt", "config", "check", "examples/hosted/policy-config.yaml"],
                             cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    assert "2 tenants: ok" in checked.stdout and "warning" not in checked.stderr, checked
