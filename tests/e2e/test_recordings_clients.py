"""The calls that users of the official SDKs write, paid through one SDK and gateway and replayed to another."""

import pytest

from sdks import Ask

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "PROMPT"}]}
TOOL = {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}
CALLING = {**CHAT, "messages": [{"role": "user", "content": "PROMPT call get_weather"}],
           "tools": [{"type": "function", "function": TOOL}]}
COMPLETION = {"model": "gpt-3.5-turbo-instruct", "prompt": "PROMPT"}
RESPONSE = {"model": "gpt-4.1", "input": "PROMPT", "instructions": "Be brief."}
EMBEDDING = {"model": "text-embedding-3-small", "input": "PROMPT"}
MESSAGE = {"model": "claude-sonnet-4-5", "max_tokens": 400, "messages": [{"role": "user", "content": "PROMPT"}]}
USING = {**MESSAGE, "messages": [{"role": "user", "content": "PROMPT call get_weather"}],
         "tools": [{"name": "get_weather", "input_schema": TOOL["parameters"]}]}
AZURE = {"model": "our-deployment"}
STREAM = {"stream": True}
USAGE = {"stream_options": {"include_usage": True}}

CALLS = {
    "chat": ("openai", "chat.completions.create", CHAT),
    "chat, streamed": ("openai", "chat.completions.create", CHAT | STREAM),
    "chat, streamed with usage": ("openai", "chat.completions.create", CHAT | STREAM | USAGE),
    "chat, helper": ("openai", "chat.completions.stream", CHAT | USAGE),
    "chat, calling a tool": ("openai", "chat.completions.create", CALLING),
    "chat, calling a tool by helper": ("openai", "chat.completions.stream", CALLING | USAGE),
    "completion": ("openai", "completions.create", COMPLETION),
    "completion, streamed": ("openai", "completions.create", COMPLETION | STREAM),
    "response": ("openai", "responses.create", RESPONSE),
    "response, streamed": ("openai", "responses.create", RESPONSE | STREAM),
    "response, helper": ("openai", "responses.stream", RESPONSE),
    "embedding": ("openai", "embeddings.create", EMBEDDING),
    "embeddings": ("openai", "embeddings.create", EMBEDDING | {"input": ["PROMPT", "another text"]}),
    "message": ("anthropic", "messages.create", MESSAGE),
    "message, streamed": ("anthropic", "messages.create", MESSAGE | STREAM),
    "message, helper": ("anthropic", "messages.stream", MESSAGE),
    "message, using a tool": ("anthropic", "messages.create", USING),
    "message, using a tool by helper": ("anthropic", "messages.stream", USING),
    "azure chat": ("azure", "chat.completions.create", CHAT | AZURE),
    "azure chat, streamed": ("azure", "chat.completions.create", CHAT | AZURE | STREAM),
    "azure embedding": ("azure", "embeddings.create", EMBEDDING | AZURE),
    "azure v1 chat": ("azure-v1", "chat.completions.create", CHAT | AZURE),
    "azure v1 chat, streamed": ("azure-v1", "chat.completions.create", CHAT | AZURE | STREAM),
    "azure v1 response": ("azure-v1", "responses.create", RESPONSE | AZURE),
    "azure v1 response, streamed": ("azure-v1", "responses.create", RESPONSE | AZURE | STREAM),
    "azure v1 embedding": ("azure-v1", "embeddings.create", EMBEDDING | AZURE),
}


def filled(value, prompt):
    """The body with the prompt in its place."""
    match value:
        case str():
            return value.replace("PROMPT", prompt)
        case dict():
            return {name: filled(part, prompt) for name, part in value.items()}
        case list():
            return [filled(part, prompt) for part in value]
    return value


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_one_sdk_paid_for_the_other_reads(played, python, node, reader, prompt, call):
    sdk, method, body = call
    for payer, other in ((python, node), (node, python)):
        told = filled(body, f"{prompt} by {payer.name}")
        paid = payer.ask(Ask(sdk, method, played.a.url, reader.secret, told))
        assert (paid.error, paid.cache_status) == (None, "miss")
        assert paid.value or len(paid.events) > 3
        assert payer.ask(Ask(sdk, method, played.b.url, reader.secret, told)).answer == paid.answer
        read = other.ask(Ask(sdk, method, played.b.url, reader.secret, told))
        assert (read.error, read.cache_status) == (None, "hit")
        assert bool(read.value) == bool(paid.value) and len(read.events) == len(paid.events)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_asynchronous_client_pays_follows_and_reads(played, python, python_async, reader, prompt, call):
    sdk, method, body = call
    gate = prompt.split()[-1].rstrip("?")
    told = filled(body, f"{prompt} [[fake: gate={gate}]]")
    by_a, by_b = (Ask(sdk, method, gateway.url, reader.secret, told) for gateway in (played.a, played.b))
    leader = python_async.send(by_a)
    played.provider.wait_at(gate)
    follower = python_async.send(by_b)
    played.sidecar.wait_followers(1)
    played.provider.release(gate)
    paid, followed = leader.result(), follower.result()
    seen = [paid, followed, python_async.ask(by_b)]
    assert [(one.error, one.cache_status) for one in seen] == [(None, "miss"), (None, "coalesced"), (None, "hit")]
    assert paid.value or len(paid.events) > 3
    # And what the other client of the same SDK is told of it.
    for other in (*seen[1:], python.ask(by_a)):
        assert other.answer == paid.answer


# What users catch: the class that each SDK has for it.
REFUSED = {
    "an unknown key": ({"key": "kt_gk_nobody"}, {}, "AuthenticationError"),
    "an unknown model": ({}, {"model": "model-of-nobody"}, "NotFoundError"),
    "a wrong type": ({}, {"model": 3}, "BadRequestError"),
}
ASKS = {
    "chat": ("openai", "chat.completions.create", CHAT),
    "responses": ("openai", "responses.create", RESPONSE),
    "completions": ("openai", "completions.create", COMPLETION),
    "embeddings": ("openai", "embeddings.create", EMBEDDING),
    "messages": ("anthropic", "messages.create", MESSAGE),
    "azure v1": ("azure-v1", "chat.completions.create", CHAT | AZURE),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_a_refusal_raises_what_users_catch(played, python, node, reader, prompt, ask, refused):
    sdk, method, body = ask
    how, fields, expected = refused
    told = filled(body, prompt) | fields
    for sdks in (python, node):
        seen = sdks.ask(Ask(sdk, method, played.a.url, how.get("key", reader.secret), told))
        assert seen.error and seen.error["class"] == expected, seen
        # The message that a user reads has the gateway's reason, and not only a status.
        assert len(seen.error["message"]) > 20, seen


def test_a_model_is_served_on_the_paths_of_its_provider(played, python, node, reader, prompt):
    for sdks in (python, node):
        wrong = [
            ("openai", "chat.completions.create", CHAT, "claude-sonnet-4-5", "/v1/messages"),
            ("anthropic", "messages.create", MESSAGE, "gpt-4o", "/v1/chat/completions"),
        ]
        for sdk, method, body, model, path in wrong:
            asked = filled(body, prompt) | {"model": model}
            seen = sdks.ask(Ask(sdk, method, played.a.url, reader.secret, asked))
            assert seen.error["class"] == "NotFoundError", seen
            assert path in seen.error["message"], seen
