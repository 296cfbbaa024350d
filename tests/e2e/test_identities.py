"""Who somebody is without a gateway key: a client certificate, or a token, that Envoy has verified."""

import json
import ssl
import time

import httpx
import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import MODELS, chat, environment
from identities import ISSUER, SOON, TRUST, Identified, identified, jwt, spiffe
from processes import wait_until

AGENT = "/ns/agents/sa/coder"
RULES = [
    spiffe(AGENT, org="acme", team="web", agent="coder"),
    spiffe("/ns/agents/sa/*", org="acme"),
    spiffe("/ns/globex/*", org="globex"),
    spiffe("/ns/temporary/*", org="acme"),
    jwt({"department": "research"}, org="acme", user_claim="email", team="research"),
    jwt({"department": "*"}, org="globex"),
]
RESEARCHER = {"department": "research", "email": "ada@acme.example"}


@pytest.fixture(scope="module")
def running():
    with identified(RULES) as group:
        yield group


@pytest.fixture(scope="module")
def coder(running):
    return running.workload(AGENT)


@pytest.fixture(scope="module")
def other(running):
    return running.workload("/ns/globex/sa/coder")


def lines(group, prompt_id):
    """The sidecar's log lines of a request."""
    told = group.sidecar.process.log.read_text().splitlines()
    return [json.loads(line) for line in told if prompt_id in line]


def test_a_certificates_id_is_who_asks_at_every_gateway(running, coder, prompt):
    paid = assert_miss(running.ask(running.a, prompt, coder))
    assert_hit(running.ask(running.b, prompt, coder), of=paid)
    # Others of its organization share, and so does its key.
    assert_hit(running.ask(running.b, prompt, running.workload("/ns/agents/sa/coder-2")), of=paid)
    key = running.key(org="acme")
    assert_hit(running.ask(running.a, prompt, token=key.secret), of=paid)
    assert running.provider.calls_of(prompt)["total"] == 1


def test_logs_name_who_asked_by_its_id(running, coder, prompt):
    answer = running.ask(running.a, prompt, coder)
    request_id = answer.headers["x-request-id"]
    found = wait_until(lambda: lines(running, request_id), "the sidecar's line")
    assert found[0]["key_id"] == f"{TRUST}{AGENT}"

    def logged():
        told = running.a.process.log.read_text().splitlines()
        return [line for line in told if request_id in line and '"log":"ingress"' in line]
    assert f"{TRUST}{AGENT}" in wait_until(logged, "the gateway's line")[0]


def test_explain_takes_an_id_in_the_place_of_a_key(running, coder, prompt):
    assert_miss(running.ask(running.a, prompt, coder))
    told = running.kt("explain", "--key", f"{TRUST}{AGENT}", "--gateway", "gw-b", "-", stdin=json.dumps(chat(prompt)))
    assert told.stdout.startswith("hit"), told.stdout
    nobody = running.kt("explain", "--key", f"{TRUST}/ns/nobody/x", "-", stdin=json.dumps(chat(prompt)), check=False)
    assert nobody.returncode != 0 and "there is no key" in nobody.stderr, nobody.stderr


def test_another_organizations_certificate_shares_nothing(running, coder, other, prompt):
    paid = assert_miss(running.ask(running.a, prompt, coder))
    for gateway in running.gateways:
        told = running.ask(gateway, prompt, other)
        assert told.status == 200 and told.json()["id"] != paid.id
    assert running.provider.calls_of(prompt)["total"] == 2


def test_without_a_certificate_and_without_a_key_nobody_is_answered(running, prompt):
    assert_refused(running.ask(running.a, prompt), 401, "missing_api_key")
    with running.client(running.a) as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/health").status_code == 200
    assert running.provider.calls_of(prompt)["total"] == 0


def test_a_certificate_of_another_authority_ends_the_connection(running, prompt):
    forged = running.workload(AGENT, authority=running.theirs)
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        running.ask(running.a, prompt, forged)
    assert running.provider.calls_of(prompt)["total"] == 0


@pytest.mark.parametrize("name, sans", [
    ("no-rule", ["URI:spiffe://kt.test/ns/nobody/x"]),
    ("longer-domain", ["URI:spiffe://kt.test.evil.example/ns/agents/sa/coder"]),
    ("upper", ["URI:spiffe://kt.test/ns/Agents/sa/coder"]),
    ("encoded", ["URI:spiffe://kt.test/ns/%61gents/sa/coder"]),
    ("dots", ["URI:spiffe://kt.test/ns/globex/../agents/sa/coder"]),
    ("folder", ["URI:spiffe://kt.test/ns/agents/sa/"]),
    ("web", ["URI:https://kt.test/ns/agents/sa/coder"]),
    ("two", ["URI:spiffe://kt.test/ns/agents/sa/coder", "URI:spiffe://kt.test/ns/globex/x"]),
    ("two-web", ["URI:spiffe://kt.test/ns/agents/sa/coder", "URI:https://kt.test/"]),
])
def test_an_id_that_no_rule_names_or_that_is_none_is_nobody(running, prompt, name, sans):
    presents = running.ours.issue(name, *sans)
    assert_refused(running.ask(running.a, prompt, presents), 401, "unknown_identity")
    assert running.provider.calls_of(prompt)["total"] == 0


def test_a_certificate_without_an_id_is_as_none(running, prompt):
    named = running.ours.issue("named", "DNS:coder.acme.example")
    assert_refused(running.ask(running.a, prompt, named), 401, "missing_api_key")


def test_no_header_says_who_somebody_is(running, other, prompt):
    paid = assert_miss(running.ask(running.a, prompt, running.workload(AGENT)))
    payload = running.signer.token(**RESEARCHER).split(".")[1]
    claims = {
        "x-forwarded-client-cert": f"By=x;URI={TRUST}{AGENT}", "x-jwt-payload": payload,
        "x-kt-identity": f"{TRUST}{AGENT}", "x-envoy-peer-metadata": f"{TRUST}{AGENT}",
    }
    assert_refused(running.ask(running.a, prompt, headers=claims), 401, "missing_api_key")
    told = running.ask(running.a, prompt, other, headers=claims)
    assert told.status == 200 and told.json()["id"] != paid.id


def test_a_key_decides_alone_and_a_bad_one_is_not_passed_over(running, coder, prompt):
    paid = assert_miss(running.ask(running.a, prompt, coder))
    globex = running.key(org="globex")
    told = running.ask(running.a, prompt, coder, token=globex.secret)
    assert told.status == 200 and told.json()["id"] != paid.id
    running.sidecar.revoke(globex)
    wait_until(lambda: running.ask(running.a, prompt, coder, token=globex.secret).status == 401, "the key is refused")
    for bad in ("kt_gk_" + "A" * 38, "anything"):
        assert_refused(running.ask(running.a, prompt, coder, token=bad), 401, "invalid_api_key")


def test_a_verified_token_is_who_asks_and_goes_to_nobody(running, prompt):
    token = running.signer.token(**RESEARCHER)
    paid = assert_miss(running.ask(running.a, prompt, token=token))
    # Another token of the same person, and another person of the same organization.
    again = running.signer.token(**RESEARCHER, jti="2")
    assert_hit(running.ask(running.b, prompt, token=again), of=paid)
    colleague = running.signer.token(**{**RESEARCHER, "email": "bob@acme.example"}, sub="bob")
    assert_hit(running.ask(running.b, prompt, token=colleague), of=paid)
    seen = running.provider.request_of(json.dumps(chat(prompt)).encode())
    assert not any(token.split(".")[1] in value for _, value in seen["headers"])
    stranger = running.signer.token(department="sales")
    told = running.ask(running.a, prompt, token=stranger)
    assert told.status == 200 and told.json()["id"] != paid.id
    found = wait_until(lambda: lines(running, paid.headers["x-request-id"]), "the sidecar's line")
    assert (found[0]["key_id"], found[0]["user_id"]) == (f"jwt:{ISSUER}#ada", "ada@acme.example")


@pytest.mark.parametrize("what, claims", [
    ("expired", {"exp": int(time.time()) - 3_600}),
    ("without an end", {"exp": None}),
    ("for somebody else", {"aud": "others"}),
    ("for nobody", {"aud": None}),
    ("of another issuer", {"iss": "https://id.kt.test.evil.example"}),
    ("of no issuer", {"iss": None}),
    ("of no text", {"sub": 7}),
    ("not yet good", {"nbf": int(time.time()) + 3_600}),
])
def test_a_token_that_is_no_good_is_refused(running, prompt, what, claims):
    token = running.signer.token(**{**RESEARCHER, **claims})
    assert_refused(running.ask(running.a, prompt, token=token), 401, "invalid_api_key")
    assert running.provider.calls_of(prompt)["total"] == 0


def test_a_forged_token_is_refused(running, coder, prompt):
    header, payload, signature = running.signer.token(**RESEARCHER).split(".")
    forged = running.forger.token(**RESEARCHER)
    other = running.signer.token(department="sales").split(".")[1]
    none = "eyJhbGciOiJub25lIn0"
    for token in (forged, f"{header}.{other}.{signature}", f"{none}.{payload}.", f"{none}.{payload}.{signature}"):
        assert_refused(running.ask(running.a, prompt, token=token), 401, "invalid_api_key")
        # Nor does the certificate beside it count.
        assert_refused(running.ask(running.a, prompt, coder, token=token), 401, "invalid_api_key")
    assert running.provider.calls_of(prompt)["total"] == 0


@pytest.mark.parametrize("claims", [
    {"department": ["research"]}, {"department": 7}, {"department": None}, {"department": {"research": True}},
    {"sub": None}, {"email": None}, {"email": ["ada@acme.example"]}, {"email": "a b"},
])
def test_a_good_token_without_what_a_rule_asks_for_is_nobody(running, prompt, claims):
    token = running.signer.token(**{**RESEARCHER, **claims})
    assert_refused(running.ask(running.a, prompt, token=token), 401, "unknown_identity")


def test_of_two_credentials_none_is_chosen(running, prompt):
    good, key = running.signer.token(**RESEARCHER), running.key(org="acme")
    bad = running.forger.token(**RESEARCHER)
    body = json.dumps(chat(prompt)).encode()
    with running.client(running.a) as client:
        for pair in ([good, bad], [bad, good], [good, good[:-1]], [good, key.secret], [key.secret, good], [good, "x"]):
            fields = [("authorization", f"Bearer {one}") for one in pair] + [("content-type", "application/json")]
            reply = client.post("/v1/chat/completions", content=body, headers=fields)
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key"), pair
        for name in ("x-api-key", "api-key"):
            fields = {"authorization": f"Bearer {good}", name: "x", "content-type": "application/json"}
            reply = client.post("/v1/chat/completions", content=body, headers=fields)
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key"), name
        query = client.post(f"/v1/chat/completions?access_token={good}", content=body,
                            headers={"content-type": "application/json"})
        assert query.status_code == 401
    assert running.provider.calls_of(prompt)["total"] == 0


def test_a_rule_that_is_taken_away_soon_lets_nobody_in_any_more(running, prompt):
    presents = running.workload("/ns/temporary/sa/x")
    clients = {gateway: running.client(gateway, presents) for gateway in running.gateways}
    ask = {gateway: lambda gateway=gateway: gateway.ask(None, prompt, client=clients[gateway]) for gateway in clients}
    try:
        for gateway in running.gateways:
            # Until it comes from the worker's own memory.
            for _ in range(3):
                assert ask[gateway]().status == 200
        taken = running.sidecar.configurations_taken()
        running.write_config({**running.config, "identities": [rule for rule in RULES if "temporary" not in str(rule)]})
        wait_until(lambda: running.sidecar.configurations_taken() > taken, "the sidecar has the changed rules")
        for gateway in running.gateways:
            wait_until(lambda: ask[gateway]().status == 401, f"{gateway.id} refuses", SOON)
            assert_refused(ask[gateway](), 401, "unknown_identity")
        running.restore()
        assert ask[running.a]().status == 200
    finally:
        running.restore()
        for client in clients.values():
            client.close()


def test_rules_that_envoy_was_not_started_for_need_a_restart(running):
    other = {"jwt": {"issuer": "https://new.kt.test", "audiences": ["x"], "jwks_file": "signer.json"}, "org": "acme"}
    running.write_config({**running.config, "identities": [*RULES, other]})
    try:
        faults = wait_until(lambda: running.sidecar.status().get("config_errors"), "the sidecar says what is wrong")
        assert "https://new.kt.test" in str(faults) and "restart" in str(faults)
    finally:
        running.write_config(running.config)
        wait_until(lambda: not running.sidecar.status().get("config_errors"), "the sidecar is content again")


def test_a_gateway_that_could_not_know_anybody_by_a_certificate_does_not_start(running):
    told = running.kt("gateway", "run", "--sidecar", running.sidecar.socket, "--id", "gw-x", "--listen", "127.0.0.1:0",
                      check=False)
    assert told.returncode != 0 and "--client-ca" in told.stderr, told.stderr


class HostedByIdentity(Identified):
    """A hosted gateway: rules of the host, packs of tenants."""

    def __init__(self):
        super().__init__([
            spiffe("/ns/acme/*", org="acme"), spiffe("/ns/globex/*", org="globex"), spiffe("/ns/initech/*", org="initech"),
        ], config={"tenants": {"folder": "tenants"}, "gateway": {"on_sidecar_loss": "unavailable"}})
        (self.folder / "tenants").mkdir()
        for org, models in (("acme", MODELS), ("globex", MODELS[:1])):
            target = {"id": "openai", "models": models, "secret_key_ref": {"env": "E2E_UPSTREAM_KEY"}}
            (self.folder / "tenants" / f"{org}.yaml").write_text(json.dumps({"providers": {"targets": [target]}}))

    def targets(self):
        return [{name: value for name, value in self.target().items() if name != "secret_key_ref"}]

    def start_sidecar(self):
        self.sidecar.process.start(environment())
        wait_until(self.sidecar.is_ready, "the sidecar is ready")


def test_on_a_hosted_gateway_an_identity_is_decided_by_its_organizations_pack(prompt):
    with HostedByIdentity() as hosted:
        acme, globex, initech = (hosted.workload(f"/ns/{org}/sa/x") for org in ("acme", "globex", "initech"))
        paid = assert_miss(hosted.ask(hosted.a, prompt, acme))
        assert_hit(hosted.ask(hosted.b, prompt, acme), of=paid)
        told = hosted.ask(hosted.a, prompt, globex)
        assert told.status == 200 and told.json()["id"] != paid.id
        assert hosted.ask(hosted.a, prompt, acme, model=MODELS[1]).status == 200
        assert_refused(hosted.ask(hosted.a, prompt, globex, model=MODELS[1]), 404, "model_not_found")
        assert_refused(hosted.ask(hosted.a, prompt, initech), 403, "tenant_not_configured")
        checked = hosted.kt("config", "check", hosted.config_path, check=False)
        assert checked.returncode != 0 and "identities[2].org: 'initech' has no pack" in checked.stderr, checked.stderr
