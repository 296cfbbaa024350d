"""Identities that could be taken for another one: whoever cannot be read is nobody, and nobody is somebody else."""

import hashlib
import json
import ssl
import time

import httpx
import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import chat
from identities import AUDIENCE, ISSUER, SOON, TRUST, encoded, identified, jwt, spiffe
from processes import wait_until

AGENT = "/ns/agents/sa/coder"
OTHER = "https://other.kt.test"
RULES = [
    spiffe(AGENT, org="acme", agent="coder"),
    spiffe("/ns/globex/*", org="globex"),
    jwt({"department": "research"}, org="acme", user_claim="email"),
    # Good for its own tokens, and for no others.
    {"jwt": {"issuer": OTHER, "audiences": [AUDIENCE], "jwks_file": "forger.json"}, "org": "globex"},
    # Behind those for tokens.
    spiffe("/ns/late/*", org="globex"),
]
ADA = {"department": "research", "email": "ada@acme.example"}
NOBODY = {"unknown_identity", "invalid_api_key"}


@pytest.fixture(scope="module")
def running():
    with identified(RULES) as group:
        yield group


@pytest.fixture(scope="module")
def coder(running):
    return running.workload(AGENT)


@pytest.fixture(scope="module")
def globex(running):
    return running.workload("/ns/globex/sa/coder")


def name_of(group, answer):
    """By what the sidecar's log line knows who asked."""
    request_id = answer.headers["x-request-id"]

    def found():
        told = group.sidecar.process.log.read_text().splitlines()
        return [json.loads(line) for line in told if request_id in line and '"key_id"' in line]
    return wait_until(found, "the sidecar's line")[0]["key_id"]


def assert_nobody(group, prompt, *who, codes=NOBODY, **how):
    refused = group.ask(group.a, prompt, *who, **how)
    assert assert_refused(refused, 401)["code"] in codes, refused
    assert group.provider.calls_of(prompt)["total"] == 0


IDS = {
    "another domain": "spiffe://kt.example/ns/agents/sa/coder",
    "a domain below": "spiffe://a.kt.test/ns/agents/sa/coder",
    "a domain with a dot": "spiffe://kt.test./ns/agents/sa/coder",
    "the domain in capitals": "spiffe://KT.TEST/ns/agents/sa/coder",
    "the domain in another case": "spiffe://kt.Test/ns/agents/sa/coder",
    "the scheme in capitals": "SPIFFE://kt.test/ns/agents/sa/coder",
    "a port": "spiffe://kt.test:443/ns/agents/sa/coder",
    "somebody before the domain": "spiffe://kt.test@kt.example/ns/agents/sa/coder",
    "the domain behind somebody": "spiffe://kt.example@kt.test/ns/agents/sa/coder",
    "a question": "spiffe://kt.test/ns/agents/sa/coder?",
    "a fragment": "spiffe://kt.test/ns/agents/sa/coder#x",
    "an empty part": "spiffe://kt.test/ns//agents/sa/coder",
    "a slash at its end": "spiffe://kt.test/ns/agents/sa/coder/",
    "an encoded slash": "spiffe://kt.test/ns/agents/sa%2Fcoder",
    "an encoded letter": "spiffe://kt.test/ns/agents/sa/%63oder",
    "an encoded NUL": "spiffe://kt.test/ns/agents/sa/coder%00",
    "one dot": "spiffe://kt.test/ns/agents/./sa/coder",
    "two dots": "spiffe://kt.test/ns/globex/../agents/sa/coder",
    "a comma, as a list has": "spiffe://kt.test/ns/agents/sa/coder,spiffe://kt.test/ns/globex/sa/x",
    "a star": "spiffe://kt.test/ns/globex/*",
    "a space": "spiffe://kt.test/ns/agents/sa/coder x",
    "a quote": "spiffe://kt.test/ns/agents/sa/coder\"",
    "the domain alone": "spiffe://kt.test",
    "a part longer than any": "spiffe://kt.test/ns/globex/" + "x" * 486,
    "longer than an ID may be": "spiffe://kt.test/ns/globex/" + "x" * 2_100,
    "far longer": "spiffe://kt.test/ns/globex/" + "x" * 9_000,
}


@pytest.mark.parametrize("what", IDS)
def test_an_id_that_is_none_or_another_ones_is_nobody(running, prompt, what):
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    assert_nobody(running, prompt, running.ours.issue(digest, f"URI:{IDS[what]}"), codes={"unknown_identity"})


def test_the_longest_id_that_is_read_is_somebody(running, prompt):
    longest = "/ns/globex/" + "x" * 485
    assert len(TRUST + longest) == 512
    presents = running.ours.issue("longest", f"URI:{TRUST}{longest}")
    assert name_of(running, assert_miss(running.ask(running.a, prompt, presents))) == TRUST + longest


def test_an_id_anywhere_else_in_a_certificate_is_none(running, prompt):
    for at, sans in enumerate([(), ("DNS:kt.test",), ("email:coder@kt.test",)]):
        named = running.ours.issue(f"elsewhere-{at}", *sans, common_name=f"{TRUST}{AGENT}")
        assert_nobody(running, prompt, named, codes={"missing_api_key"})


def test_three_ids_are_nobodys_whichever_comes_first(running, prompt):
    ids = [f"URI:{TRUST}{AGENT}", f"URI:{TRUST}/ns/globex/sa/x", f"URI:{TRUST}{AGENT}"]
    for at in range(3):
        presents = running.ours.issue(f"three-{at}", *ids[at:], *ids[:at])
        assert_nobody(running, prompt, presents, codes={"unknown_identity"})
    # Twice the same one is two, too.
    assert_nobody(running, prompt, running.ours.issue("twice", ids[0], ids[0]), codes={"unknown_identity"})


@pytest.mark.parametrize("what", ["over", "signed by who may not sign", "for servers alone"])
def test_a_certificate_that_is_no_good_ends_the_connection(running, coder, prompt, what):
    san = f"URI:{TRUST}/ns/globex/sa/x"
    if what == "over":
        presents = running.ours.issue("over", san, days=-1)
    elif what == "for servers alone":
        presents = running.ours.issue("servers", san, more="extendedKeyUsage=serverAuth\n")
    else:
        certificate, key = running.ours.issue("below", san, by=coder)
        certificate.write_bytes(certificate.read_bytes() + coder[0].read_bytes())
        presents = certificate, key
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        running.ask(running.a, prompt, presents)
    assert running.provider.calls_of(prompt)["total"] == 0


@pytest.mark.parametrize("subject", [
    "", " ", "a da", " ada", "ada ", "ada\n", "ada\r\nx", "ada\0", "ada\x7f", "\u00e4da", "ada\u200b", "x" * 513,
    ["ada"], {"sub": "ada"}, True, 7.5,
], ids=lambda value: ascii(value)[:20])
def test_a_subject_that_is_no_name_is_nobody(running, prompt, subject):
    assert_nobody(running, prompt, token=running.signer.token(**{**ADA, "sub": subject}))


@pytest.mark.parametrize("email", [
    "", " ", "ada\n", "ada\r\nx-org: globex", "ada\0x", "ada\x1b[2J", "x" * 600, True, 7, {"email": "ada"}, [],
], ids=lambda value: ascii(value)[:20])
def test_a_claim_that_names_somebody_and_is_no_name_refuses(running, prompt, email):
    assert_nobody(running, prompt, token=running.signer.token(**{**ADA, "email": email}), codes={"unknown_identity"})


@pytest.mark.parametrize("claims", [
    {"department": "Research"}, {"department": "research "}, {"department": "research\0"}, {"department": "research,sales"},
    {"department": "*"}, {"department": ""}, {"department": None, "Department": "research"},
    {"department": None, "custom": {"department": "research"}}, {"department": None, "custom.department": "research"},
], ids=str)
def test_a_claim_that_is_nearly_what_a_rule_asks_for_is_not(running, prompt, claims):
    assert_nobody(running, prompt, token=running.signer.token(**{**ADA, **claims}), codes={"unknown_identity"})


def test_the_same_subject_of_two_issuers_is_two(running, prompt):
    one = running.signer.token(**ADA)
    other = running.forger.token(**ADA, iss=OTHER)
    paid = assert_miss(running.ask(running.a, prompt, token=one))
    told = assert_miss(running.ask(running.a, prompt, token=other))
    assert told.id != paid.id
    assert_hit(running.ask(running.b, prompt, token=one), of=paid)
    assert_hit(running.ask(running.b, prompt, token=other), of=told)
    assert (name_of(running, paid), name_of(running, told)) == (f"jwt:{ISSUER}#ada", f"jwt:{OTHER}#ada")


def test_an_issuer_signs_for_itself_alone(running, prompt):
    for token in (running.forger.token(**ADA), running.signer.token(**ADA, iss=OTHER), running.forger.token(**ADA, iss=[ISSUER, OTHER])):
        assert_nobody(running, prompt, token=token, codes={"invalid_api_key"})


def test_a_subject_that_looks_like_another_issuers_is_its_own(running, prompt):
    for subject in (f"{ISSUER}#ada", f"jwt:{ISSUER}#ada", "#ada", f"{TRUST}{AGENT}"):
        text = f"{prompt} {subject}"
        paid = assert_miss(running.ask(running.a, text, token=running.signer.token(**ADA)))
        told = running.ask(running.a, text, token=running.forger.token(iss=OTHER, sub=subject))
        assert told.status == 200 and told.id != paid.id
        assert name_of(running, told) == f"jwt:{OTHER}#{subject}"


def test_a_token_says_nothing_of_how_it_is_to_be_verified(running, prompt):
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600, "sub": "ada", **ADA}
    own = json.loads(running.forger.jwks.read_text())["keys"][0]
    plain = {"alg": "RS256", "typ": "JWT"}
    tokens = [
        # The public key as a secret that both would know.
        running.signer.signed({"alg": "HS256", "typ": "JWT"}, claims, secret=running.signer.public()),
        running.signer.signed({"alg": "HS256", "kid": "one", "typ": "JWT"}, claims, secret=running.signer.jwks.read_bytes()),
        running.signer.signed({"alg": "HS256", "kid": "../../../dev/null"}, claims, secret=b"x"),
        # A key, or the address of one, that the token brings.
        running.forger.signed({**plain, "jwk": own}, claims), running.forger.signed({**plain, "jku": f"{OTHER}/keys"}, claims),
        running.forger.signed({**plain, "kid": "one"}, claims),
        # Another algorithm than the key's, or none.
        running.signer.signed({"alg": "RS512", "kid": "one"}, claims), running.signer.signed({"alg": "nOnE"}, claims),
        running.signer.signed({"kid": "one"}, claims),
        # More than three parts, or fewer.
        running.signer.signed(plain, claims) + ".x", running.signer.signed(plain, claims).rpartition(".")[0],
        encoded(json.dumps(claims).encode()), "..", "a.b.c",
    ]
    for token in tokens:
        assert_nobody(running, prompt, token=token, codes={"invalid_api_key"})


def test_a_token_counts_in_its_one_place_alone(running, globex, prompt):
    good = running.signer.token(**ADA)
    for headers, code in [
        ({"cookie": f"authorization=Bearer {good}; token={good}"}, "missing_api_key"),
        ({"proxy-authorization": f"Bearer {good}"}, "missing_api_key"), ({"x-forwarded-authorization": f"Bearer {good}"}, "missing_api_key"),
        ({"x-api-key": good}, "invalid_api_key"), ({"api-key": good}, "invalid_api_key"),
        ({"authorization": f"Basic {good}"}, "invalid_api_key"), ({"authorization": good}, "invalid_api_key"),
    ]:
        answer = running.ask(running.a, prompt, headers=headers)
        assert assert_refused(answer, 401)["code"] in (code, "missing_api_key"), (headers, answer)
    assert running.provider.calls_of(prompt)["total"] == 0
    # Beside a certificate it changes nothing.
    told = running.ask(running.a, prompt, globex, headers={"cookie": f"token={good}", "proxy-authorization": f"Bearer {good}"})
    assert name_of(running, told) == f"{TRUST}/ns/globex/sa/coder"


def test_what_proxies_call_an_identity_is_a_clients_word(running, coder, globex, prompt):
    uri = f"{TRUST}{AGENT}"
    payload = encoded(json.dumps({"iss": ISSUER, "sub": "ada", **ADA}).encode())
    for at, headers in enumerate((
        {"x-forwarded-client-cert": f"By={TRUST}/gateway;Hash={'0' * 64};Subject=\"CN=coder\";URI={uri}"},
        {"x-forwarded-client-cert": f"URI={uri},URI={TRUST}/ns/globex/sa/coder"},
        {"X-Forwarded-Client-Cert": uri, "forwarded": f"for=1;by={uri}"},
        {"x-jwt-payload": payload, "x-goog-authenticated-user-email": ADA["email"], "x-amzn-oidc-data": payload},
        {"x-endpoint-api-userinfo": payload, "x-forwarded-user": "ada", "x-spiffe-id": uri, "x-client-cert": uri},
        {"kt_jwt": payload, "x-kt-principal": uri, "x-kt-identity": f"jwt:{ISSUER}#ada", "x-kt-org": "acme"},
        {"x-envoy-peer-metadata-id": uri, "x-istio-attributes": payload, "kt.peer_uris": uri},
    )):
        text = f"{prompt} {at}"
        paid = assert_miss(running.ask(running.a, text, coder))
        answer = running.ask(running.a, text, headers=headers)
        # Envoy refuses a name with an underscore before anybody looks at it.
        assert answer.status in (400, 401), (headers, answer)
        plain = {name: value for name, value in headers.items() if "_" not in name}
        told = running.ask(running.a, text, globex, headers=plain)
        assert told.status == 200 and told.id != paid.id, headers
        assert name_of(running, told) == f"{TRUST}/ns/globex/sa/coder"


def test_with_a_certificate_and_a_token_the_first_rule_decides(running, coder, globex, prompt):
    token = running.signer.token(**ADA)
    for presents, who in ((coder, f"{TRUST}{AGENT}"), (globex, f"{TRUST}/ns/globex/sa/coder")):
        told = running.ask(running.a, prompt, presents, token=token)
        assert told.status == 200 and name_of(running, told) == who
    late = running.workload("/ns/late/sa/coder")
    # Each asks what nobody has asked, so that the sidecar is asked and has a line.
    both, alone, token_alone = (name_of(running, assert_miss(running.ask(running.a, f"{prompt} {at}", *presents)))
                                for at, presents in enumerate([(late, token), (late, None), (None, token)]))
    assert (both, alone) == (token_alone, f"{TRUST}/ns/late/sa/coder") and both != alone
    # A certificate that names nobody is not passed over for the token beside it.
    two = running.ours.issue("two-beside", f"URI:{TRUST}{AGENT}", f"URI:{TRUST}/ns/globex/sa/x")
    assert_refused(running.ask(running.a, prompt, two, token=token), 401, "unknown_identity")


def test_on_one_connection_each_request_is_its_own(running, prompt):
    """Nothing of who asked last is left on a connection, whatever comes after."""
    ada, other, key = running.signer.token(**ADA), running.forger.token(iss=OTHER), running.key(org="initech")
    for http2 in (False, True):
        paid, text = {}, f"{prompt} {http2}"
        with running.client(running.a, http2=http2) as client:
            for turn in range(3):
                for org, credential in (("acme", ada), ("globex", other), ("initech", key.secret)):
                    told = running.a.ask(None, text, headers={"authorization": f"Bearer {credential}"}, client=client)
                    assert told.status == 200 and paid.setdefault(org, told.id) == told.id, (org, turn, told)
                    assert_refused(running.a.ask(None, text, client=client), 401, "missing_api_key")
        assert len(set(paid.values())) == 3, paid


@pytest.mark.parametrize("how", ["taken away", "given to another organization"])
@pytest.mark.parametrize("who", ["a certificate", "a token"])
def test_a_rule_that_changes_is_another_one_at_once(running, coder, prompt, who, how):
    """What its identity was told before is told to nobody under the new rule, from no memory."""
    at = 0 if who == "a certificate" else 2
    presents = (coder, None) if who == "a certificate" else (None, running.signer.token(**ADA))
    paid = assert_miss(running.ask(running.a, prompt, *presents))
    for gateway in running.gateways:
        for _ in range(3):
            assert running.ask(gateway, prompt, *presents).id == paid.id
    rules = [dict(rule) for rule in RULES]
    if how == "taken away":
        # Its issuer stays known: a gateway that runs verifies as it was started.
        rules[at] = {**rules[at], **({"spiffe": f"{TRUST}/ns/nobody/x"} if at == 0 else jwt({"department": "nobody"}))}
    else:
        rules[at]["org"] = "globex"
    taken = running.sidecar.configurations_taken()
    running.write_config({**running.config, "identities": rules})
    try:
        wait_until(lambda: running.sidecar.configurations_taken() > taken, "the sidecar has the changed rules")
        for gateway in running.gateways:
            ask = lambda: running.ask(gateway, prompt, *presents)
            if how == "taken away":
                wait_until(lambda: ask().status == 401, f"{gateway.id} refuses", SOON)
                assert_refused(ask(), 401, "unknown_identity")
            else:
                told = wait_until(lambda: (answer := ask()).id != paid.id and answer, f"{gateway.id} knows it as another", SOON)
                assert told.status == 200
                assert all(ask().id != paid.id for _ in range(3)), f"{gateway.id} has told it once more"
    finally:
        running.restore()
