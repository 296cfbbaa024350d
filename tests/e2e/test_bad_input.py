"""What clients send by mistake or on purpose: refused in OpenAI's shape, with the VM alive afterwards."""

import gzip
import json
import uuid

import httpx
import pytest

import raw
from answers import assert_hit, assert_miss, assert_refused
from group import chat
from processes import wait_until
from raw import bearer, chat_bytes, exchange

MIB = 1 << 20


@pytest.fixture(autouse=True)
def alive(group, key):
    """After every test of this file: no VM was lost, and the gateway answers."""
    yield
    answer = group.a.ask(key, "Are you there?")
    assert answer.status == 200, answer
    assert group.a.vms_lost() == 0


def message(content):
    return b'{"model":"gpt-4o","messages":[{"role":"user","content":"%s"}]}' % content


@pytest.mark.parametrize("body", [
    b"", b"{", b"null", b"[]", b'"text"', b"not json", b"\xff\xfe", b"\x00",
    b'{"model":"gpt-4o","messages":[]} trailing',
    message(b"x") + b"}",
    message(b"\xff"),
    message(b"\xc0\xaf"),
    message(b"\xed\xa0\x80"),
    message(b"\\ud800"),
    message(b"\\udc00\\ud800"),
    b"\xef\xbb\xbf" + message(b"x"),
    message(b"x").decode().encode("utf-16"),
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"temperature":01}',
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],}',
    message(b"a\nb"),
], ids=lambda body: repr(body[:40]))
def test_a_body_that_is_no_json_is_refused(group, key, body):
    before = group.provider.total()
    assert_refused(group.a.post(key, body), 400)
    assert group.provider.total() == before


@pytest.mark.parametrize("body", [
    b'{"model":"gpt-4o","model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}]}',
    b'{"model":"gpt-4o","messages":[],"messages":[{"role":"user","content":"x"}]}',
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"x","content":"y"}]}',
    b'{"model":"gpt-4o","mod\\u0065l":"gpt-4o-mini","messages":[{"role":"user","content":"x"}]}',
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"x":[[{"a":1,"a":1}]]}',
], ids=lambda body: repr(body[:60]))
def test_a_name_that_stands_twice_is_refused(group, key, body):
    before = group.provider.total()
    assert_refused(group.a.post(key, body), 400, "invalid_json")
    assert group.provider.total() == before


@pytest.mark.parametrize("depth", [65, 128, 1_000, 100_000, 2_000_000])
@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_a_body_that_nests_too_deep_is_refused(group, key, depth, opening, closing):
    if depth * len(opening + closing) > 7 * MIB:
        depth = 7 * MIB // len(opening + closing)
    nested = opening * depth + b"1" + closing * depth
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"x":' + nested + b"}"
    assert_refused(group.a.post(key, body), 400, "invalid_json")


def test_a_body_with_too_many_values_is_refused(group, key):
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"x":[' + b"1," * 1_000_000 + b"1]}"
    assert_refused(group.a.post(key, body), 400, "invalid_json")


@pytest.mark.parametrize("body, param", [
    ({}, "model"),
    ({"messages": [{"role": "user", "content": "x"}]}, "model"),
    ({"model": 7, "messages": [{"role": "user", "content": "x"}]}, "model"),
    ({"model": None, "messages": []}, "model"),
    ({"model": "", "messages": [{"role": "user", "content": "x"}]}, "model"),
    ({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], "stream": "yes"}, "stream"),
], ids=str)
def test_a_field_of_the_wrong_kind_is_named(group, key, body, param):
    error = assert_refused(group.a.ask(key, body), 400, "invalid_field")
    assert error["param"] == param


@pytest.mark.parametrize("model", ["no-such-model", "GPT-4O", "gpt-4o ", "gpt-4o\u200b", "../gpt-4o", "😄"])
def test_a_model_that_nobody_serves_is_not_found(group, key, model):
    before = group.provider.total()
    error = assert_refused(group.a.ask(key, {**chat("x"), "model": model}), 404, "model_not_found")
    assert error["param"] == "model"
    assert group.provider.total() == before


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "identity, gzip"])
def test_a_compressed_body_is_refused(group, key, coding):
    before = group.provider.total()
    answer = group.a.post(key, gzip.compress(chat_bytes("x")), headers={"content-encoding": coding})
    assert_refused(answer, 415, "unsupported_media_type")
    assert group.provider.total() == before


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "audio/mpeg"])
def test_another_kind_of_body_is_refused(group, key, content_type):
    answer = group.a.post(key, chat_bytes("x"), headers={"content-type": content_type})
    assert_refused(answer, 415, "unsupported_media_type")


def test_a_body_of_five_mebibytes_is_served_and_cached(group, key):
    image = "A" * (5 * MIB)

    def asked():
        parts = [{"type": "text", "text": f"What is this? {uuid.uuid4()}"},
                 {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}]
        body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]}).encode()
        paid = group.a.post(key, body)
        group.provider.request_of(body)
        served = group.b.post(key, body)
        # On a busy machine so long a body may outlast the budget for asking the sidecar; then it goes the direct lane.
        return "bypass" not in (paid.cache_status, served.cache_status) and (paid, served)
    paid, served = wait_until(asked, "the sidecar is asked")
    assert_hit(served, of=assert_miss(paid))


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
@pytest.mark.parametrize("over", [1, MIB, 12 * MIB], ids=["by-a-byte", "by-a-mebibyte", "by-far"])
def test_a_body_beyond_the_bound_is_refused(group, key, chunked, over):
    empty = message(b"")
    body = message(b"A" * (8 * MIB - len(empty) + over))
    pieces = (body[at:at + 65536] for at in range(0, len(body), 65536))
    before = group.provider.total()
    try:
        answer = group.a.post(key, pieces if chunked else body)
    except (httpx.WriteError, httpx.RemoteProtocolError) as error:
        # The answer came while the body was still being sent, and the client did not look for it.
        pytest.fail(f"the gateway hung up without an answer: {error!r}")
    assert_refused(answer, 413, "request_too_large")
    assert group.provider.total() == before


def test_a_body_at_the_bound_is_read(group, key):
    prompt = uuid.uuid4().hex.encode()
    body = message(prompt + b"A" * (8 * MIB - len(message(prompt))))
    assert len(body) == 8 * MIB
    answer = group.a.post(key, body)
    # Without the sidecar too, which so long a body may outlast on a busy machine.
    assert answer.status == 200 and answer.broke is None, answer


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_on_the_chat_path_is_refused(group, key, method):
    reply = group.a.request(method, "/v1/chat/completions", headers={"authorization": f"Bearer {key.secret}"})
    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"
    assert reply.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", [
    "/", "/v1", "/v1/", "/v1/chat", "/v1/chat/completions/", "/v1/chat/completions;x.css", "/v1/images",
    "/v1/admit", "/v1/principal", "/v1/feed", "/v1/keys", "/metrics", "/stats", "/quitquitquit",
    "//v1//nothing", "/V1/chat/completions", "/openai/v1", "/openai/v1/messages",
    "/openai/deployments/a/../b/chat/images", "/openai/deployments/a%2e%2e/chat/completions;x",
])
def test_a_path_that_nobody_knows_is_not_found(group, key, path):
    before = group.provider.total()
    answer = exchange(group.a, raw.request(chat_bytes("x"), [bearer(key)], path=path.encode()))
    assert answer.status in (400, 404), answer
    assert answer.error["code"] in ("unknown_path", "not_found", "bad_request"), answer
    assert group.provider.total() == before


def test_a_query_changes_nothing(group, key, prompt):
    body = chat_bytes(prompt)
    paid = assert_miss(group.a.post(key, body, path="/v1/chat/completions?api-version=1"))
    assert_hit(group.b.post(key, body), of=paid)


@pytest.mark.parametrize("header", [
    {"x-kt-lane": "direct-openai"}, {"x-kt-lane": "sidecar"}, {"x-kt-ticket": "0" * 32},
    {"x-kt-undecided": "provider_openai"}, {"x-kt-undecided": "kt_sidecar"},
    {"x-kt-target": "openai"}, {"x-kt-wire": "1"}, {"x-kt-admit": '{"decision":"draining"}'},
    {"x-kt-lane": "direct-openai", "x-kt-target": "openai", "x-kt-ticket": "x"},
    {"x-kt-org": "other"}, {"x-org": "other"}, {"x-kt-group": "other"},
    {"x-envoy-original-path": "/v1/models"}, {"x-envoy-upstream-rq-timeout-ms": "1"},
    {"x-envoy-retry-on": "5xx"}, {"x-envoy-decorator-operation": "x"}, {"x-envoy-expected-rq-timeout-ms": "1"},
], ids=str)
def test_our_own_headers_from_outside_are_ignored(group, key, prompt, header):
    before = group.provider.total()
    assert_refused(group.a.ask(None, prompt, headers=header), 401, "missing_api_key")
    assert group.provider.total() == before
    body = chat_bytes(prompt)
    paid = assert_miss(group.a.post(key, body, headers=header), "request")
    names = {name for name, _ in group.provider.request_of(body)["headers"]}
    assert not [name for name in names if name.startswith(("x-kt-", "x-envoy-"))], names
    assert_hit(group.b.post(key, body), of=paid)
    assert_hit(group.b.post(key, body, headers=header), of=paid)


@pytest.mark.parametrize("line", [
    b"x-weird: \xff\xfe\x80", b"user-agent: \xc3\x28", b"cookie: \xf0\x28\x8c\xbc", b"accept: \xa0",
    b"openai-organization: \xff",
], ids=repr)
def test_a_header_that_is_no_utf8_harms_nobody(group, key, prompt, line):
    body = chat_bytes(prompt)
    answer = exchange(group.a, raw.request(body, [bearer(key), line]))
    assert answer.status in (200, 400), answer
    if answer.status == 400:
        assert answer.error
    else:
        group.provider.request_of(body)


@pytest.mark.parametrize("line, statuses", [
    (b"authorization: Bearer \xff\xff", {400, 401}),
    (b"x-api-key: kt_gk_\xff", {400, 401}),
    (b"authorization: \xc3\x28", {400, 401}),
], ids=repr)
def test_a_credential_that_is_no_utf8_is_refused(group, line, statuses):
    before = group.provider.total()
    answer = exchange(group.a, raw.request(chat_bytes("x"), [line]))
    assert answer.status in statuses, answer
    assert answer.error
    assert group.provider.total() == before


@pytest.mark.parametrize("name", [b"x-kt-codebase", b"content-type", b"content-encoding", b"openai-beta", b"cache-control"])
def test_a_header_that_is_read_and_is_no_utf8_harms_nobody(group, key, prompt, name):
    answer = exchange(group.a, raw.request(chat_bytes(prompt), [bearer(key), name + b": \xff\xfe"]))
    assert answer.status in (200, 400, 403, 415), answer
    assert answer.status == 200 or answer.error


@pytest.mark.parametrize("what, build", [
    ("two hosts", lambda key: raw.request(chat_bytes("x"), [b"host: other", bearer(key)])),
    ("a CR in a value", lambda key: raw.request(b"{}", [bearer(key), b"x-a: a\rb"])),
    ("GET with a body", lambda key: raw.request(chat_bytes("x"), [bearer(key)], method=b"GET")),
    ("no host", lambda key: raw.request(chat_bytes("x"), [bearer(key)], host=None)),
    ("length and chunks", lambda key: raw.request(
        b"0\r\n\r\n", [bearer(key), b"content-length: 5", b"transfer-encoding: chunked"])),
    ("two lengths", lambda key: raw.request(b"{}", [bearer(key), b"content-length: 2", b"content-length: 3"])),
    ("a signed length", lambda key: raw.request(b"{}", [bearer(key), b"content-length: +2"])),
    ("a NUL in a header", lambda key: raw.request(b"{}", [bearer(key), b"x-a: a\x00b"])),
    ("an underscore in a name", lambda key: raw.request(b"{}", [bearer(key), b"x_kt_lane: sidecar"])),
    ("a NUL in the path", lambda key: raw.request(b"{}", [bearer(key)], path=b"/v1/chat%00/completions")),
    ("an escaped slash", lambda key: raw.request(b"{}", [bearer(key)], path=b"/v1/..%2fv1/chat/completions")),
    ("bytes in the path", lambda key: raw.request(b"{}", [bearer(key)], path=b"/v1/\xff")),
    ("chunks of no size", lambda key: raw.request(
        b"zz\r\n{}\r\n0\r\n\r\n", [bearer(key), b"transfer-encoding: chunked"])),
    ("not HTTP", lambda key: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("another encoding", lambda key: raw.request(b"{}", [bearer(key), b"transfer-encoding: gzip, chunked"])),
    ("a bomb of headers", lambda key: raw.request(b"{}", [bearer(key), *[b"x-h%d: 1" % n for n in range(500)]])),
    ("a method nobody knows", lambda key: raw.request(b"{}", [bearer(key)], method=b"BREW")),
    ("TRACE", lambda key: raw.request(b"", [bearer(key)], method=b"TRACE")),
    ("CONNECT", lambda key: raw.request(b"", [bearer(key)], method=b"CONNECT", path=b"other:443")),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_request_that_is_not_plain_http_reaches_nobody(group, key, what, build):
    before = group.provider.total()
    answer = exchange(group.a, build(key))
    if answer is not None:
        assert 400 <= answer.status < 600 and answer.status != 500, answer
        # Before it has a request to answer, Envoy has no shape to answer in.
        assert answer.body == b"" or answer.error, answer
    assert group.provider.total() == before


@pytest.mark.parametrize("request_bytes, status", [
    (lambda key: raw.request(chat_bytes("x"), [bearer(key), b"host: other"]), 400),
    (lambda key: raw.request(b"{}", [bearer(key), *[b"x-h%d: 1" % n for n in range(500)]]), 431),
    (lambda key: raw.request(b"{}", [bearer(key)], path=b"/v1/..%2fv1/chat/completions"), 400),
], ids=["two-hosts", "too-many-headers", "an-escaped-slash"])
def test_envoys_own_refusals_speak_the_clients_dialect(group, key, request_bytes, status):
    answer = exchange(group.a, request_bytes(key))
    assert_refused(answer, status)
    assert answer.error["type"] and answer.error["code"]


@pytest.mark.parametrize("path", [
    b"/v1/./chat/completions", b"/v1/nothing/../chat/completions", b"//v1//chat/completions",
    b"http://another.example/v1/chat/completions", b"/v1/chat%2Dcompletions/../chat/completions",
])
def test_a_path_is_judged_as_the_provider_will_see_it(group, key, prompt, path):
    body = chat_bytes(prompt)
    assert_refused(exchange(group.a, raw.request(body, path=path)), 401, "missing_api_key")
    paid = assert_miss(exchange(group.a, raw.request(body, [bearer(key)], path=path)))
    assert group.provider.request_of(body)["path"] == "/v1/chat/completions"
    assert_hit(group.b.post(key, body), of=paid)


def test_a_request_that_never_becomes_whole_reaches_nobody(group, key):
    before = group.provider.total()
    whole = raw.request(chat_bytes("x" * 1000), [bearer(key)])
    exchange(group.a, whole[:-500], half_close=True)
    chunked = raw.request(b"10\r\n{\"model\":\"gpt-4", [bearer(key), b"transfer-encoding: chunked"])
    exchange(group.a, chunked, half_close=True)
    assert group.provider.total() == before


def test_a_request_with_trailers_is_answered(group, key, prompt):
    body = chat_bytes(prompt)
    chunked = b"%x\r\n%s\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(body), body)
    lines = [bearer(key), b"transfer-encoding: chunked", b"trailer: x-trailer"]
    paid = assert_miss(exchange(group.a, raw.request(chunked, lines)))
    assert_hit(group.b.post(key, body), of=paid)


@pytest.mark.parametrize("text", [
    "\u0000", "' OR 1=1; --", "{{7*7}}", "\r\nSET x 1\r\n", "\u202e\u2066", "🏳️‍🌈", "A" * 100_000, "\\\"\\u0000",
    "<script>alert(1)</script>", "%s%n%p", "../../../etc/passwd",
], ids=lambda text: ascii(text[:20]))
def test_a_prompt_of_any_kind_makes_the_round_trip(group, key, prompt, text):
    body = json.dumps(chat(f"{prompt} {text}")).encode()
    paid = assert_miss(group.a.post(key, body))
    group.provider.request_of(body)
    assert_hit(group.b.post(key, body), of=paid)
