"""One entry serves JSON and SSE, and the official SDK cannot tell a replay from a live answer."""

import pytest

from answers import assert_hit, assert_miss
from group import chat

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}},
}

# What changes the answer's form, each with the words that make the fake provider answer so.
FORMS = {
    "text": ("", {}),
    "choices": ("", {"n": 3}),
    "logprobs": ("", {"logprobs": True}),
    "a tool call": ("call get_weather", {"tools": [WEATHER, CLOCK]}),
    "two tool calls": ("call get_weather and call get_time", {"tools": [WEATHER, CLOCK]}),
    "ended by the client's limit": ("", {"max_tokens": 3}),
    "no words": ("[[fake: words=1]]", {}),
}


@pytest.fixture(params=FORMS, ids=str)
def asked(request, prompt):
    words, fields = FORMS[request.param]
    return {"messages": [{"role": "user", "content": f"{prompt} {words}"}], "model": "gpt-4o", **fields}


def assembled(stream):
    """What a client makes of a stream: the message, calls and reasons of each choice."""
    choices, ids, models = {}, set(), set()
    usage = None
    for chunk in stream:
        ids.add(chunk.id)
        models.add(chunk.model)
        usage = chunk.usage or usage
        for part in chunk.choices:
            choice = choices.setdefault(part.index, {"content": None, "calls": {}, "finish": None, "logprobs": []})
            if part.delta.content is not None:
                choice["content"] = (choice["content"] or "") + part.delta.content
            for call in part.delta.tool_calls or []:
                known = choice["calls"].setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                known["id"] += call.id or ""
                known["name"] += call.function.name or ""
                known["arguments"] += call.function.arguments or ""
            if part.logprobs and part.logprobs.content:
                choice["logprobs"] += [token.model_dump() for token in part.logprobs.content]
            choice["finish"] = part.finish_reason or choice["finish"]
    assert len(ids) == 1 and len(models) == 1, (ids, models)
    return {"id": ids.pop(), "model": models.pop(), "choices": choices, "usage": usage and usage.model_dump()}


def whole(completion):
    """The same of an answer in one piece."""
    choices = {}
    for choice in completion.choices:
        calls = {
            at: {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
            for at, call in enumerate(choice.message.tool_calls or [])
        }
        tokens = choice.logprobs.content if choice.logprobs and choice.logprobs.content else []
        choices[choice.index] = {
            "content": choice.message.content, "calls": calls, "finish": choice.finish_reason,
            "logprobs": [token.model_dump() for token in tokens],
        }
    return {"id": completion.id, "model": completion.model, "choices": choices,
            "usage": completion.usage and completion.usage.model_dump()}


def told(gateway, key, body, **how):
    """Asks by the SDK; what a client then knows, and whether it came from the cache."""
    raw = gateway.sdk(key).chat.completions.with_raw_response.create(**body, **how)
    answer = raw.parse()
    knows = assembled(answer) if how.get("stream") else whole(answer)
    return knows, raw.headers["x-cache-status"]


def test_json_is_replayed_as_json(group, key, asked):
    live, first = told(group.a, key, asked)
    replayed, second = told(group.b, key, asked)
    assert (first, second) == ("miss", "hit")
    assert replayed == live


def test_a_stream_is_replayed_as_a_stream(group, key, asked):
    live, first = told(group.a, key, asked, stream=True)
    replayed, second = told(group.b, key, asked, stream=True)
    assert (first, second) == ("miss", "hit")
    assert replayed == live


def test_json_is_replayed_as_a_stream(group, key, asked):
    live, first = told(group.a, key, asked)
    replayed, second = told(group.b, key, asked, stream=True, stream_options={"include_usage": True})
    assert (first, second) == ("miss", "hit")
    assert normal(replayed) == normal(live)


def test_a_stream_is_replayed_as_json(group, key, asked):
    usage = {"stream_options": {"include_usage": True}}
    live, first = told(group.a, key, asked, stream=True, **usage)
    replayed, second = told(group.b, key, asked)
    assert (first, second) == ("miss", "hit")
    assert normal(replayed) == normal(live)


def normal(answer):
    """A stream cannot tell an empty content from none; beside tool calls they mean the same."""
    for choice in answer["choices"].values():
        choice["content"] = choice["content"] or None
    return answer


def test_a_replayed_object_is_the_providers_object_byte_for_byte(group, key, prompt):
    live = assert_miss(group.a.ask(key, prompt))
    for gateway in (group.a, group.b, group.b):
        assert assert_hit(gateway.ask(key, prompt)).body == live.body


def test_a_replayed_stream_is_the_providers_stream_byte_for_byte(group, key, prompt):
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    live = assert_miss(group.a.ask(key, prompt, **fields))
    assert live.headers["content-type"].startswith("text/event-stream")
    for gateway in (group.a, group.b, group.b):
        assert assert_hit(gateway.ask(key, prompt, **fields)).body == live.body


@pytest.mark.parametrize("paid_as_stream", [False, True], ids=["paid-as-json", "paid-as-stream"])
def test_usage_is_streamed_only_to_those_who_ask(group, key, prompt, paid_as_stream):
    group.a.ask(key, prompt, stream=paid_as_stream)
    without = assert_hit(group.b.ask(key, prompt, stream=True))
    assert not [chunk for chunk in without.chunks() if chunk.get("usage") or not chunk["choices"]]
    asking = {"stream": True, "stream_options": {"include_usage": True}}
    with_usage = assert_hit(group.b.ask(key, prompt, **asking)).chunks()
    assert with_usage[-1]["choices"] == [] and with_usage[-1]["usage"]["total_tokens"] > 0


def test_a_live_stream_shows_no_usage_to_a_client_that_did_not_ask(group, key, prompt):
    live = assert_miss(group.a.ask(key, prompt, stream=True))
    assert not [chunk for chunk in live.chunks() if chunk.get("usage") or not chunk["choices"]]
    assert live.events()[-1] == "[DONE]"


def test_the_sdk_streams_content_in_pieces(group, key, prompt):
    for status in ("miss", "hit"):
        raw = group.a.sdk(key).chat.completions.with_raw_response.create(
            **chat(prompt, stream=True))
        pieces = [chunk.choices[0].delta.content for chunk in raw.parse() if chunk.choices]
        assert raw.headers["x-cache-status"] == status
        assert len([piece for piece in pieces if piece]) > 3


def test_content_may_come_in_parts(group, key, prompt):
    parts = [{"type": "text", "text": prompt},
             {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]}
    live, _ = told(group.a, key, body)
    assert told(group.b, key, body) == (live, "hit")


def test_an_answer_too_large_for_the_callout_is_replayed_all_the_same(group, key, prompt):
    large = f"{prompt} [[fake: size=600000]]"
    live = assert_miss(group.a.ask(key, large))
    assert len(live.body) > 600_000
    for gateway in group.gateways:
        hit = assert_hit(gateway.ask(key, large), of=live)
        assert hit.body == live.body
    replayed = assert_hit(group.b.ask(key, large, stream=True))
    content = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in replayed.chunks())
    assert content == live.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("fake", ["crlf", "drip_ms=1", "ttfb_ms=300", "usage=none"])
def test_a_provider_with_odd_manners_is_replayed_faithfully(group, key, prompt, fake):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"{prompt} [[fake: {fake}, words=3]]"}]}
    live, first = told(group.a, key, body, stream=True)
    assert (told(group.b, key, body, stream=True), first) == ((live, "hit"), "miss")
