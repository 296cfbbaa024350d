"""Nothing cut short, failed or in error is ever stored, nor looks whole to a client."""

import httpx
import openai
import pytest

from answers import assert_hit, assert_miss
from group import chat

STATUSES = [400, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529]

# The provider breaks off: no client may take what it got for a whole answer.
CUT = [
    "reset", "cut_after=0", "cut_after=3", "cut_after_bytes=1", "cut_after_bytes=200",
    "truncate=150", "truncate_chunked=150", "truncate=0",
]
# The provider ends properly and says something that is no good answer.
ODD = ["error_event", "html", "content_type=text/plain", "invalid_utf8", "gzip",
       "finish=length", "finish=content_filter"]

SHAPES = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])


def ask(group, gateway, key, prompt, fake, stream):
    return gateway.ask(key, f"{prompt} [[fake: {fake}]]", stream=stream)


def assert_never_stored(group, key, prompt, fake, stream):
    """The same again, at either gateway and in either shape, is another call and no hit."""
    for gateway, again_as_stream in ((group.b, stream), (group.a, not stream)):
        before = group.provider.total()
        again = ask(group, gateway, key, prompt, fake, again_as_stream)
        assert again.cache_status in ("miss", "bypass"), again
        assert group.provider.total() > before, again


@SHAPES
@pytest.mark.parametrize("status", STATUSES)
def test_an_error_of_the_provider_is_told_and_not_stored(group, key, prompt, status, stream):
    fake = f"status={status}, retry_after=7"
    answer = ask(group, group.a, key, prompt, fake, stream)
    assert answer.status == status, answer
    assert answer.cache_status == "miss", answer
    assert answer.error["message"], answer
    assert answer.headers["retry-after"] == "7"
    assert_never_stored(group, key, prompt, fake, stream)


@pytest.mark.parametrize("advice, calls", [
    ("should_retry=false", 1), ("should_retry=true, retry_after_ms=1", 3), ("retry_after_ms=1, retry_after=0", 3)])
def test_an_sdk_retries_a_refusal_as_the_provider_says(group, key, prompt, advice, calls):
    asked = f"{prompt} [[fake: status=409, {advice}]]"
    client = group.a.sdk(key).with_options(max_retries=2)
    with pytest.raises(openai.ConflictError) as raised:
        client.chat.completions.create(**chat(asked))
    assert group.provider.calls_of(prompt)["total"] == calls
    told = raised.value.response.headers
    for setting in advice.split(", "):
        name, _, value = setting.partition("=")
        assert told[{"should_retry": "x-should-retry"}.get(name, name.replace("_", "-"))] == value


@SHAPES
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_of_the_gateway_is_not_blamed_on_the_client(group, key, prompt, status, stream):
    fake = f"status={status}"
    answer = ask(group, group.a, key, prompt, fake, stream)
    assert answer.status == 502, answer
    assert answer.error["code"] == "upstream_unauthorized", answer
    assert "platform team" in answer.error["message"], answer
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert_never_stored(group, key, prompt, fake, stream)


@SHAPES
@pytest.mark.parametrize("fake", CUT)
def test_an_answer_that_breaks_off_looks_broken_and_is_not_stored(group, key, prompt, fake, stream):
    answer = ask(group, group.a, key, prompt, fake, stream)
    assert looks_broken(answer), answer
    assert_never_stored(group, key, prompt, fake, stream)


@pytest.mark.fault(41)
def test_a_stream_without_its_end_looks_broken_and_is_not_stored(group, key, prompt):
    answer = ask(group, group.a, key, prompt, "no_done", True)
    assert looks_broken(answer), answer
    before = group.provider.total()
    again = ask(group, group.b, key, prompt, "no_done", True)
    assert again.cache_status != "hit" and looks_broken(again), again
    assert group.provider.total() > before


@SHAPES
@pytest.mark.parametrize("fake", ODD)
@pytest.mark.fault(42)
def test_an_answer_that_is_no_good_answer_is_not_stored(group, key, prompt, fake, stream):
    answer = ask(group, group.a, key, prompt, fake, stream)
    assert answer.cache_status != "hit", answer
    assert_never_stored(group, key, prompt, fake, stream)


def looks_broken(answer):
    """The connection broke, or the client was told in its own error shape."""
    if answer.broke is not None:
        return True
    return answer.status in (502, 503, 504) and bool(answer.error)


@pytest.mark.parametrize("fake", ["hang", "hang=body"])
def test_a_client_that_stops_waiting_leaves_nothing_behind(group, key, prompt, fake):
    """In both shapes at once, since a call that has begun is given up only when its provider has long been silent."""
    bodies = [chat(f"{prompt} {stream} [[fake: {fake}]]", stream=stream) for stream in (False, True)]
    with group.a.client(timeout=httpx.Timeout(10, read=0.7)) as client:
        for body in bodies:
            try:
                answer = group.a.ask(key, body, client=client)
            except httpx.ReadTimeout:
                answer = None
            assert answer is None or answer.broke is not None, answer
    group.provider.wait_idle()
    for body in bodies:
        assert_the_next_one_pays(group, key, body)


def assert_the_next_one_pays(group, key, body):
    # The same request again, which the provider now answers.
    group.provider.script("words=4", 1)
    paid = assert_miss(group.b.ask(key, body))
    assert_hit(group.a.ask(key, body), of=paid)


@pytest.mark.parametrize("fake", ["status=500", "cut_after=3", "error_event"])
@SHAPES
def test_after_a_failure_the_next_good_answer_is_stored(group, key, prompt, fake, stream):
    body = chat(prompt, stream=stream)
    group.provider.script(fake, 1)
    group.a.ask(key, body)
    paid = assert_miss(group.b.ask(key, body))
    assert_hit(group.a.ask(key, body), of=paid)


def test_an_answer_ended_by_the_clients_own_limit_is_whole(group, key, prompt):
    paid = assert_miss(group.a.ask(key, prompt, max_tokens=3))
    assert paid.json()["choices"][0]["finish_reason"] == "length"
    assert_hit(group.b.ask(key, prompt, max_tokens=3), of=paid)


@pytest.mark.parametrize("fake", [
    "words=33000, delta_ms=0",  # more than max_entry_tokens
    "size=9000000",             # more than an entry may have
])
def test_an_answer_too_large_to_keep_is_served_whole_and_not_stored(group, key, prompt, fake):
    large = f"{prompt} [[fake: {fake}]]"
    first = assert_miss(group.a.ask(key, large))
    second = assert_miss(group.b.ask(key, large))
    assert first.id != second.id
    assert len(first.json()["choices"][0]["message"]["content"]) > 100_000


@pytest.mark.parametrize("usage", ["negative", "string", "absurd"])
@SHAPES
def test_a_usage_that_nobody_should_believe_breaks_nothing(group, key, prompt, usage, stream):
    fields = {"stream": stream, **({"stream_options": {"include_usage": True}} if stream else {})}
    asked = f"{prompt} [[fake: usage={usage}]]"
    live = assert_miss(group.a.ask(key, asked, **fields))
    again = assert_hit(group.b.ask(key, asked, **fields), of=live)
    assert again.body == live.body


@SHAPES
def test_a_providers_long_cookies_lose_nothing(group, key, prompt, stream):
    asked = f"{prompt} [[fake: cookie_bytes=20000]]"
    live = assert_miss(group.a.ask(key, asked, stream=stream))
    assert "set-cookie" not in live.headers
    assert_hit(group.b.ask(key, asked, stream=stream), of=live)
