"""What of a request's head a provider gets: what is listed here, and what is in the key. Nothing else, whatever it is."""

import json
import random
import string
import uuid

import pytest

from answers import assert_hit, assert_miss
from group import UPSTREAM_KEY, Group, chat
from wallet import CLAUDE

# Every field that a provider may see, and what it must say.
FORWARDED = {
    "content-type": "application/json", "accept-encoding": "identity", "user-agent": None, "host": None,
    "content-length": None, "x-request-id": None,
}
# In the key, and so forwarded.
SEMANTIC = {
    "/v1/chat/completions": {"openai-beta": "assistants=v2"},
    "/v1/messages": {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"},
}
CREDENTIAL = {"/v1/chat/completions": ("authorization", f"Bearer {UPSTREAM_KEY}"), "/v1/messages": ("x-api-key", UPSTREAM_KEY)}
# What clients, proxies and attackers send.
KNOWN = [
    "accept", "accept-language", "accept-charset", "baggage", "cache-control", "cookie", "date", "dnt", "expect-ct", "forwarded", "from",
    "if-none-match", "if-modified-since", "max-forwards", "origin", "pragma", "priority", "proxy-authorization", "range",
    "referer", "sec-ch-ua", "sec-fetch-mode", "traceparent", "tracestate", "true-client-ip", "via", "warning",
    "x-amzn-trace-id", "x-b3-traceid", "x-cloud-trace-context", "x-client-ip", "x-correlation-id", "x-csrf-token",
    "x-envoy-attempt-count", "x-envoy-expected-rq-timeout-ms", "x-envoy-external-address", "x-envoy-force-trace",
    "x-envoy-internal", "x-envoy-original-host", "x-envoy-original-path", "x-envoy-retry-on",
    "x-envoy-upstream-rq-timeout-ms", "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port",
    "x-http-method-override", "x-kt-lane", "x-kt-org", "x-kt-ticket", "x-ms-client-request-id", "x-org",
    "x-original-url", "x-real-ip", "x-request-start", "x-rewrite-url", "x-stainless-lang", "x-stainless-retry-count",
    "openai-organization", "openai-project", "anthropic-dangerous-direct-browser-access",
]


def foreign(seed):
    """Known names and made-up ones, each with a value that is found wherever it gets to."""
    choose = random.Random(seed)
    made_up = {"x-" + "".join(choose.choices(string.ascii_lowercase, k=choose.randint(1, 12))) for _ in range(25)}
    return {name: f"of-the-client-{number}" for number, name in enumerate([*KNOWN, *sorted(made_up)])}


def body_of(path, prompt):
    model = CLAUDE if path == "/v1/messages" else "gpt-4o"
    return json.dumps({**chat(prompt), "model": model, "max_tokens": 500}).encode()


def assert_forwarded(seen, path, semantic):
    """Exactly what is listed, each once, with the target's credential."""
    name, credential = CREDENTIAL[path]
    wanted = {**FORWARDED, **semantic, name: credential}
    fields = dict(seen["headers"])
    assert len(fields) == len(seen["headers"]), seen
    assert set(fields) <= set(wanted), set(fields) - set(wanted)
    for name, value in wanted.items():
        assert value is None or fields[name] == value, (name, seen)
    assert fields["user-agent"].startswith("kt/") and fields["host"].startswith("127.0.0.1:"), seen
    assert "of-the-client" not in json.dumps(seen) and "kt_gk_" not in json.dumps(seen), seen


@pytest.mark.parametrize("path", SEMANTIC)
@pytest.mark.parametrize("half", [0, 1])
def test_a_provider_gets_what_is_listed_and_nothing_else(paying, path, half):
    key, body, semantic = paying.wallet(10**9).key(), body_of(path, str(uuid.uuid4())), SEMANTIC[path]
    # At most 100 fields may come, so in two parts.
    sent = dict(list(foreign(path).items())[half::2])
    if "cache-control" in sent:
        sent["cache-control"] = "max-age=3600"
    assert_miss(paying.a.post(key, body, path=path, headers={**sent, **semantic}))
    assert_forwarded(paying.provider.request_of(body), path, semantic)


def test_without_the_sidecar_a_provider_gets_no_more():
    path, semantic = "/v1/chat/completions", SEMANTIC["/v1/chat/completions"]
    with Group() as group:
        key = group.key(org="acme")
        with group.a.client() as client:
            assert_miss(group.a.post(key, body_of(path, "before"), client=client))
            group.sidecar.process.kill()
            for half in (0, 1):
                body = body_of(path, str(uuid.uuid4()))
                sent = dict(list(foreign("direct").items())[half::2])
                answer = group.a.post(key, body, headers={**sent, **semantic}, client=client)
                assert answer.status == 200, answer
                assert_forwarded(group.provider.request_of(body), path, semantic)


def test_what_is_not_forwarded_changes_no_answer(group, key, prompt):
    paid = assert_miss(group.a.ask(key, prompt))
    names = [name for name in foreign(prompt) if name != "cache-control"]
    for first in range(0, len(names), 10):
        headers = {name: str(uuid.uuid4()) for name in names[first:first + 10]}
        assert_hit(group.b.ask(key, prompt, headers=headers), of=paid)


@pytest.mark.parametrize("header", [
    {"date": "Thu, 01 Jan 1970 00:00:00 GMT"}, {"date": "Fri, 31 Dec 9999 23:59:59 GMT"}, {"x-request-start": "t=0"},
    {"x-request-start": "t=99999999999999"}, {"age": "99999999"}, {"expires": "0"},
    {"if-modified-since": "Fri, 31 Dec 9999 23:59:59 GMT"}, {"x-stainless-timeout": "0"},
], ids=str)
def test_a_clients_clock_ages_nothing(group, key, prompt, header):
    paid = assert_miss(group.a.ask(key, prompt, headers=header))
    assert_hit(group.b.ask(key, prompt, headers=header), of=paid)
    assert_hit(group.b.ask(key, prompt), of=paid)
