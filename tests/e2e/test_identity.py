"""Who asks: keys, and what becomes of the credentials of both sides."""

import contextlib
import json
import uuid

import pytest

from answers import assert_hit, assert_miss, assert_refused, until_remembered
from group import REVOKED_S, UPSTREAM_KEY, chat
from processes import wait_until

FROM_THE_PROVIDERS_EDGE = [
    "set-cookie", "openai-organization", "openai-processing-ms", "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens", "cf-ray", "alt-svc",
]


@pytest.mark.parametrize("path, method", [
    ("/v1/chat/completions", "POST"), ("/v1/models", "GET"),
])
def test_without_a_key_nothing_is_answered(group, path, method):
    before = group.provider.total()
    reply = group.a.request(method, path, json=chat("hello") if method == "POST" else None)
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "missing_api_key"
    assert reply.headers["x-should-retry"] == "false"
    assert group.provider.total() == before


@pytest.mark.parametrize("credential", [
    "Bearer kt_gk_" + "A" * 38,
    "Bearer kt_gk_",
    "Bearer sk-of-somebody-else",
    "Bearer",
    "Basic a3Q6a3Q=",
    "kt_gk_" + "0" * 38,
])
def test_a_key_that_is_none_is_refused(group, credential):
    before = group.provider.total()
    answer = group.a.ask(None, "hello", headers={"authorization": credential})
    assert answer.status == 401
    assert answer.error["code"] in ("invalid_api_key", "missing_api_key")
    assert group.provider.total() == before


def test_a_typo_in_a_key_is_refused(group, key):
    secret = key.secret[:-1] + ("a" if key.secret[-1] != "a" else "b")
    answer = group.a.ask(None, "hello", headers={"authorization": f"Bearer {secret}"})
    assert_refused(answer, 401, "invalid_api_key")


def test_a_key_of_the_right_form_that_nobody_made_is_refused(group, edited):
    stranger = edited.key(org="acme")
    assert_refused(group.a.ask(stranger, "hello"), 401, "invalid_api_key")


def test_the_key_may_come_as_x_api_key(group, key, prompt):
    first = assert_miss(group.a.ask(None, prompt, headers={"x-api-key": key.secret}))
    assert_hit(group.a.ask(key, prompt), of=first)


@pytest.mark.fault(49)
def test_a_revoked_key_is_refused_at_every_gateway(group, prompt):
    key = group.key(org="acme")
    paid = assert_miss(group.a.ask(key, prompt))
    with contextlib.ExitStack() as stack:
        clients = {gateway: stack.enter_context(gateway.client()) for gateway in group.gateways}
        ask = {gateway: lambda gateway=gateway: gateway.ask(key, prompt, client=clients[gateway]) for gateway in clients}
        for gateway in group.gateways:
            # In the worker's own memory: nobody has to be asked for it.
            until_remembered(ask[gateway], of=paid)
        before = group.provider.total()
        group.sidecar.revoke(key)
        wait_until(lambda: all(ask[gateway]().status == 401 for gateway in group.gateways), "all refuse the key", REVOKED_S)
        for gateway in group.gateways:
            assert_refused(ask[gateway](), 401, "revoked_api_key")
        assert group.provider.total() == before


def test_the_provider_gets_the_targets_credential_and_nothing_of_the_client(group, key):
    headers = {
        "x-api-key": key.secret, "cookie": "session=of-the-client", "x-kt-codebase-of": "x",
        "x-org": "other", "openai-organization": "org-of-the-client", "x-secret": key.secret,
        "proxy-authorization": "Basic c2VjcmV0", "x-forwarded-for": "203.0.113.9",
    }
    body = json.dumps(chat(f"credentials {uuid.uuid4()}")).encode()
    assert_miss(group.a.post(key, body, headers=headers))
    seen = group.provider.request_of(body)
    values = [value for name, value in seen["headers"] if name == "authorization"]
    assert values == [f"Bearer {UPSTREAM_KEY}"]
    text = json.dumps(seen)
    for secret in [key.secret, "kt_gk_", "of-the-client", "c2VjcmV0"]:
        assert secret not in text, text
    names = {name for name, _ in seen["headers"]}
    assert not [name for name in names if name.startswith(("x-kt-", "x-envoy-"))], names
    assert not names & {"cookie", "x-api-key", "x-org", "x-secret", "proxy-authorization"}, names


def test_a_body_reaches_the_provider_byte_for_byte(group, key):
    body = (b'{ "messages" : [ {"content":"caf\xc3\xa9 \\u00e9 %s", "role":"user"} ],\n'
            b'  "temperature":1.0e0 , "model":"gpt-4o" }') % uuid.uuid4().hex.encode()
    assert_miss(group.a.post(key, body))
    group.provider.request_of(body)


def test_the_provider_gets_the_clients_request_id_and_no_leave_to_compress(group, key, prompt):
    body = json.dumps(chat(prompt)).encode()
    answer = assert_miss(group.a.post(key, body, headers={"accept-encoding": "gzip, br", "x-request-id": "mine"}))
    headers = dict(group.provider.request_of(body)["headers"])
    assert headers["x-request-id"] == answer.headers["x-request-id"] != "mine"
    assert headers.get("accept-encoding", "identity") == "identity"


def test_a_hit_carries_nothing_of_the_providers_edge(group, key, prompt):
    for stream in (False, True):
        group.a.ask(key, prompt, stream=stream)
        for gateway in group.gateways:
            hit = assert_hit(gateway.ask(key, prompt, stream=stream))
            assert not [name for name in FROM_THE_PROVIDERS_EDGE if name in hit.headers], hit.headers
            assert "req_of_the_fake" not in str(hit.headers)


def test_no_answer_tells_what_is_inside(group, key, prompt):
    answers = [group.a.ask(key, prompt), group.a.ask(key, prompt), group.b.ask(key, prompt)]
    for answer in [*answers, group.a.ask(None, prompt)]:
        ours = {name for name in answer.headers if name.startswith("x-kt-")}
        assert ours <= {"x-kt-served-by", "x-kt-cost-usd", "x-kt-saved-usd"}, answer.headers
        text = str(answer.headers).lower()
        assert "org-of-the-fake" not in text or answer is answers[0]
        assert key.secret not in text and UPSTREAM_KEY not in text


@pytest.mark.parametrize("fake", ["forge", "forge, status=500"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_a_provider_cannot_speak_for_the_gateway(group, key, prompt, fake, stream):
    answer = group.a.ask(key, f"{prompt} [[fake: {fake}]]", stream=stream)
    assert answer.cache_status == "miss", answer
    assert "forged" not in str(answer.headers), answer.headers
    assert answer.headers["x-fabric-attached"] == "false"
    assert "x-kt-wire" not in answer.headers and "x-kt-admit" not in answer.headers
