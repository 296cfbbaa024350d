"""The output policy in the dialects of responses and messages: what is redacted or blocked in a stream, or in JSON, for whoever
pays, follows or finds it."""

import json

import pytest

from answers import Answer, assert_coalesced, assert_hit, assert_miss
from group import unique
from policies import config, says
from sdks import Ask
from test_flight_dialects import ANTHROPIC, BODIES, MESSAGES, RESPONSES, SDK_CALLS, text_of
from wallet import Paying

# More than any policy holds back, and more than half of what is said.
BEFORE = "Here it is, and before it comes some more that says nothing at all, so that whoever reads along has something to read: "
FOUND = "jane@example.com"
SAID = f"{BEFORE}{FOUND} is who it was."
REDACTED = f"{BEFORE}[EMAIL] is who it was."
PATHS = pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
SHAPES = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
# The call that puts a stream together, where an SDK has one.
HELPERS = {RESPONSES: "responses.stream", MESSAGES: "messages.stream"}
# What a tool is called in each, and how.
TOOLS = {
    RESPONSES: {"type": "function", "name": "send", "parameters": {"type": "object", "properties": {}}},
    MESSAGES: {"name": "send", "input_schema": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def own():
    with Paying() as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id


@pytest.fixture
def wallet(own):
    return own.wallet(50_000_000)


@pytest.fixture
def speak(own, wallet, crowd):
    """Asks in a dialect: a watched request at a gateway."""
    key = wallet.key()

    def ask(path, prompt, gateway, **fields):
        headers = ANTHROPIC if path == MESSAGES else {}
        return crowd.one(gateway, key, BODIES[path](prompt, **fields), path=path, headers=headers)
    return ask


def has_read_some(crowd, live, path):
    """Waits until it has read some of what is said."""
    def some():
        whole, _, _ = bytes(live.body).rpartition(b"\n\n")
        return whole and text_of(path, Answer(live.status, live.headers, whole))
    crowd.wait(some, "it reads along")
    assert not live.ended, live


def leader_and_follower(own, crowd, speak, path, prompt, stream, reads_first):
    """The answers of two who ask at once; of a stream both have read something before the rest comes."""
    gate = unique()
    asked = f"{prompt} {says(SAID)} [[fake: gate={gate}{'@body' if reads_first else ''}]]"
    lives = [speak(path, asked, own.a, stream=stream)]
    own.provider.wait_at(gate)
    lives.append(speak(path, asked, own.b, stream=stream))
    own.sidecar.wait_followers(1)
    if reads_first:
        for live in lives:
            has_read_some(crowd, live, path)
    own.provider.release(gate)
    return [live.whole() for live in lives], asked


@PATHS
@SHAPES
def test_what_is_redacted_is_so_for_leader_follower_and_hit(own, crowd, speak, prompt, path, stream):
    own.configure(config("pii-detector", "redact", "output"))
    (led, followed), asked = leader_and_follower(own, crowd, speak, path, prompt, stream, reads_first=stream)
    assert_coalesced(followed, of=None if stream else assert_miss(led))
    hit = assert_hit(speak(path, asked, own.b, stream=stream).whole())
    other_shape = assert_hit(speak(path, asked, own.a, stream=not stream).whole())
    for answer in (led, followed, hit, other_shape):
        assert text_of(path, answer) == REDACTED
        # Nor where an event or a field says the whole again.
        assert FOUND.encode() not in answer.body and b"example" not in answer.body, answer
    assert own.provider.calls_of(prompt)["total"] == 1


@PATHS
def test_what_an_sdk_puts_together_of_a_redacted_stream_is_redacted(own, wallet, python, prompt, path):
    own.configure(config("pii-detector", "redact", "output"))
    key = wallet.key()
    for gateway in (own.a, own.b):
        body = BODIES[path](f"{prompt} {says(SAID)}")
        seen = python.ask(Ask(SDK_CALLS[path][0], HELPERS[path], gateway.url, key.secret, body))
        assert seen.error is None, seen
        content = seen.value["output"][-1]["content"] if path == RESPONSES else seen.value["content"]
        assert content[-1]["text"] == REDACTED, seen
        assert FOUND not in json.dumps(seen.value)
    assert own.provider.calls_of(prompt)["total"] == 1


@PATHS
@SHAPES
def test_a_block_is_the_same_for_leader_and_follower_and_one_call(own, crowd, wallet, speak, prompt, path, stream):
    own.configure(config("pii-detector", "block", "output"))
    answers, asked = leader_and_follower(own, crowd, speak, path, prompt, stream, reads_first=stream)
    for answer in answers:
        assert FOUND.encode() not in answer.body, answer
        if stream:
            # The first words have been read: its dialect's error event, and a reset.
            assert answer.status == 200 and answer.broke is not None, answer
            error = json.loads(answer.events()[-1])
            assert error["type"] == "error" and b"\nevent: error\n" in answer.body, answer
            assert "pii-detector" in json.dumps(error), answer
        else:
            assert answer.status == 409 and answer.headers["x-should-retry"] == "false", answer
            body = answer.json()
            assert "pii-detector" in body["error"]["message"], answer
            assert body["type"] == "error" if path == MESSAGES else body["error"]["code"] == "policy_blocked", answer
    assert own.provider.calls_of(prompt)["total"] == 1
    # Paid for, and not stored: whoever asks again makes a call.
    assert wallet.pending == 0 and wallet.rows() == {"pending": 1, "post": 1}
    again = speak(path, asked, own.b, stream=stream).whole()
    assert again.cache_status != "hit" and FOUND.encode() not in again.body, again
    assert own.provider.calls_of(prompt)["total"] == 2


@PATHS
def test_users_of_an_sdk_catch_a_block_within_a_stream_and_it_asks_once(own, wallet, python, node, prompt, path):
    own.configure(config("pii-detector", "block", "output"))
    key = wallet.key()
    for sdks in (python, node):
        asked = f"{prompt} by {sdks.name}"
        body = BODIES[path](f"{asked} {says(SAID)}", stream=True)
        seen = sdks.ask(Ask(*SDK_CALLS[path], own.a.url, key.secret, body))
        assert seen.error and "pii-detector" in json.dumps(seen.error), seen
        assert FOUND not in json.dumps(seen.events), seen
        assert own.provider.calls_of(asked)["total"] == 1


@PATHS
@SHAPES
def test_the_arguments_of_a_call_are_redacted_and_still_json(own, speak, prompt, path, stream):
    own.configure(config("pii-detector", "redact", "output"))
    arguments = json.dumps({"to": FOUND, "card": 4111111111111111, "n": [1, 2]})
    answer = assert_miss(speak(path, f"{prompt} call send {says(arguments)}", own.a, tools=[TOOLS[path]], stream=stream).whole())
    told = arguments_of(path, answer, stream)
    assert told == {"to": "[EMAIL]", "card": "[CREDIT_CARD]", "n": [1, 2]}
    assert FOUND.encode() not in answer.body and b"4111111111111111" not in answer.body, answer


def arguments_of(path, answer, stream):
    """What a tool is called with."""
    if stream and path == RESPONSES:
        events = [event for event in answer.chunks() if event["type"] == "response.function_call_arguments.delta"]
        return json.loads("".join(event["delta"] for event in events))
    if stream:
        deltas = [event["delta"] for event in answer.chunks() if event["type"] == "content_block_delta"]
        return json.loads("".join(delta.get("partial_json", "") for delta in deltas))
    if path == RESPONSES:
        call, = [item for item in answer.json()["output"] if item["type"] == "function_call"]
        return json.loads(call["arguments"])
    call, = [block for block in answer.json()["content"] if block["type"] == "tool_use"]
    return call["input"]
