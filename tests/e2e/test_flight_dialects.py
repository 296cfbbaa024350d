"""Flights in every dialect: one call, each reader in its own shape, and errors that its SDK understands."""

import json

import pytest

from answers import assert_coalesced, assert_hit, assert_miss
from group import Group, chat
from processes import wait_until
from sdks import Ask

CLAUDE = "claude-sonnet-4-5"
CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, MESSAGES = (
    f"/v1/{name}" for name in ("chat/completions", "completions", "responses", "embeddings", "messages"))
ANTHROPIC = {"anthropic-version": "2023-06-01"}
BODIES = {
    CHAT: chat,
    COMPLETIONS: lambda prompt, **fields: {"model": "gpt-4o", "prompt": prompt, **fields},
    RESPONSES: lambda prompt, **fields: {"model": "gpt-4o", "input": prompt, **fields},
    EMBEDDINGS: lambda prompt, **fields: {"model": "gpt-4o", "input": prompt},
    MESSAGES: lambda prompt, **fields: {**chat(prompt, max_tokens=400, **fields), "model": CLAUDE},
}
SDK_CALLS = {
    CHAT: ("openai", "chat.completions.create"), COMPLETIONS: ("openai", "completions.create"),
    RESPONSES: ("openai", "responses.create"), MESSAGES: ("anthropic", "messages.create"),
}
STREAMED = pytest.mark.parametrize("path", [path for path in BODIES if path != EMBEDDINGS])


class Dialects(Group):
    """One provider that is OpenAI and Anthropic at once."""

    def targets(self):
        openai, = super().targets()
        return [openai, {**openai, "id": "anthropic", "provider": "anthropic", "models": [CLAUDE]}]


@pytest.fixture(scope="module")
def spoken():
    with Dialects() as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id


@pytest.fixture
def speak(spoken, crowd):
    """Asks in a dialect: a watched request at a gateway."""
    key = spoken.key(org="acme")

    def ask(path, prompt, gateway=None, **fields):
        headers = ANTHROPIC if path == MESSAGES else {}
        return crowd.one(gateway or spoken.a, key, BODIES[path](prompt, **fields), path=path, headers=headers)
    return ask


def text_of(path, answer):
    """All that the answer says, in whichever shape it came."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        body = answer.json()
        return {
            CHAT: lambda: body["choices"][0]["message"]["content"],
            COMPLETIONS: lambda: body["choices"][0]["text"],
            RESPONSES: lambda: body["output"][-1]["content"][0]["text"],
            MESSAGES: lambda: body["content"][-1]["text"],
        }[path]()
    return "".join({
        CHAT: lambda event: event["choices"][0]["delta"].get("content") or "" if event["choices"] else "",
        COMPLETIONS: lambda event: event["choices"][0]["text"] if event["choices"] else "",
        RESPONSES: lambda event: event["delta"] if event["type"] == "response.output_text.delta" else "",
        MESSAGES: lambda event: event["delta"].get("text", "") if event["type"] == "content_block_delta" else "",
    }[path](event) for event in answer.chunks())


@STREAMED
@pytest.mark.parametrize("leads", [False, True], ids=["json", "sse"])
def test_each_reader_of_a_flight_gets_the_shape_that_it_asked_for(spoken, speak, prompt, path, leads):
    gate = prompt[8:16]
    asked = f"{prompt} [[fake: gate={gate}@event:4]]"
    lead = speak(path, asked, stream=leads)
    spoken.provider.wait_at(gate)
    told = {stream: speak(path, asked, spoken.b, stream=stream) for stream in (False, True)}
    spoken.sidecar.wait_followers(2)
    if leads:
        told[True].wait_events(4)
    spoken.provider.release(gate)
    paid = assert_miss(lead.whole())
    answers = {stream: assert_coalesced(live.whole()) for stream, live in told.items()}
    assert answers[leads].body == paid.body
    assert len({text_of(path, answer) for answer in (paid, *answers.values())}) == 1
    for stream in (False, True):
        hit = assert_hit(speak(path, asked, spoken.b, stream=stream).whole())
        assert hit.body == answers[stream].body
    assert spoken.provider.calls_of(prompt)["total"] == 1


def test_embeddings_that_are_asked_for_together_are_paid_for_once(spoken, speak, prompt):
    gate = prompt[8:16]
    asked = f"{prompt} [[fake: gate={gate}]]"
    lives = [speak(EMBEDDINGS, asked, gateway) for gateway in spoken.gateways * 4]
    spoken.sidecar.wait_followers(7)
    spoken.provider.release(gate)
    assert len({live.whole().body for live in lives}) == 1
    assert assert_hit(speak(EMBEDDINGS, asked).whole()).body == lives[0].whole().body
    assert spoken.provider.calls_of(prompt)["total"] == 1


@STREAMED
def test_a_stream_that_breaks_tells_each_reader_so_in_its_dialect(spoken, speak, prompt, path):
    gate = prompt[8:16]
    spoken.provider.script(f"gate={gate}@event:4, cut_after=4", 1, prompt=prompt)
    lead = speak(path, prompt, stream=True)
    spoken.provider.wait_at(gate)
    streams, waits = speak(path, prompt, spoken.b, stream=True), speak(path, prompt, spoken.b)
    spoken.sidecar.wait_followers(2)
    for live in (lead, streams):
        live.wait_events(4)
    spoken.provider.release(gate)
    for live in (lead, streams):
        answer = live.whole()
        assert answer.broke is not None, answer
        error = json.loads(answer.events()[-1])
        if path in (RESPONSES, MESSAGES):
            assert error["type"] == "error", answer
            assert b"\nevent: error\n" in answer.body, answer
        else:
            assert error["error"]["message"], answer
    # Who had no byte has the answer of a call of its own, and that is what is kept.
    paid = assert_miss(waits.whole(), "takeover")
    assert assert_hit(speak(path, prompt, spoken.b).whole()).body == paid.body
    assert spoken.provider.calls_of(prompt)["total"] == 2


# How the provider says within a stream that it has failed; and behind it, as if all were well, its last word.
def is_failure(event):
    event = {} if event == "[DONE]" else json.loads(event)
    return bool(event.get("error")) or event.get("type") == "error"


@STREAMED
def test_a_stream_that_fails_in_the_providers_words_ends_with_them_for_each_reader(spoken, speak, prompt, path):
    gate = prompt[8:16]
    spoken.provider.script(f"gate={gate}@event:4, error_event", 1, prompt=prompt)
    lead = speak(path, prompt, stream=True)
    spoken.provider.wait_at(gate)
    streams, waits = speak(path, prompt, spoken.b, stream=True), speak(path, prompt, spoken.b)
    spoken.sidecar.wait_followers(2)
    for live in (lead, streams):
        live.wait_events(4)
    spoken.provider.release(gate)
    for live in (lead, streams):
        answer = live.whole()
        assert answer.broke is not None, answer
        # Told once, and nothing behind it: no error of ours, no `[DONE]`, no `message_stop`.
        assert [is_failure(event) for event in answer.events()].index(True) == len(answer.events()) - 1, answer
    assert lead.body == streams.body
    paid = assert_miss(waits.whole(), "takeover")
    assert assert_hit(speak(path, prompt, spoken.b).whole()).body == paid.body
    assert spoken.provider.calls_of(prompt)["total"] == 2


@STREAMED
def test_users_of_an_sdk_catch_a_failure_within_a_stream(spoken, python, node, prompt, path):
    key = spoken.key(org="acme")
    for sdks in (python, node):
        body = BODIES[path](f"{prompt} by {sdks.name} [[fake: error_event]]", stream=True)
        seen = sdks.ask(Ask(*SDK_CALLS[path], spoken.a.url, key.secret, body))
        assert seen.error and seen.status == 200, seen
        assert seen.events, "what came before it has been read"


def test_a_response_that_says_it_has_failed_has_ended_for_who_reads_it_and_for_nobody_else(spoken, speak, prompt):
    gate = prompt[8:16]
    spoken.provider.script(f"gate={gate}@event:4, finish=failed", 1, prompt=prompt)
    lead = speak(RESPONSES, prompt, stream=True)
    spoken.provider.wait_at(gate)
    streams, waits = speak(RESPONSES, prompt, spoken.b, stream=True), speak(RESPONSES, prompt, spoken.b)
    spoken.sidecar.wait_followers(2)
    for live in (lead, streams):
        live.wait_events(4)
    spoken.provider.release(gate)
    told = assert_miss(lead.whole())
    assert assert_coalesced(streams.whole()).body == told.body
    assert told.chunks()[-1]["type"] == "response.failed"
    paid = assert_miss(waits.whole(), "takeover")
    assert assert_hit(speak(RESPONSES, prompt, spoken.b).whole()).body == paid.body
    assert spoken.provider.calls_of(prompt)["total"] == 2


def test_a_response_that_says_it_is_incomplete_has_ended_and_is_served_whole(spoken, speak, prompt):
    gate = prompt[8:16]
    asked = f"{prompt} [[fake: gate={gate}@event:4, finish=content_filter]]"
    lead = speak(RESPONSES, asked, stream=True)
    spoken.provider.wait_at(gate)
    follows = speak(RESPONSES, asked, spoken.b, stream=True)
    spoken.sidecar.wait_followers(1)
    spoken.provider.release(gate)
    paid = assert_miss(lead.whole())
    assert assert_coalesced(follows.whole()).body == paid.body
    assert paid.chunks()[-1]["type"] == "response.incomplete"
    # It is nobody's wish, and not kept.
    assert_miss(speak(RESPONSES, asked).whole(), "hit-for-miss")


@pytest.mark.parametrize("path", BODIES)
def test_a_refusal_of_the_provider_is_told_to_everyone_as_it_was_worded(spoken, speak, prompt, path):
    gate = prompt[8:16]
    asked = f"{prompt} [[fake: gate={gate}, status=400]]"
    lives = [speak(path, asked, gateway) for gateway in spoken.gateways * 4]
    spoken.sidecar.wait_followers(7)
    spoken.provider.release(gate)
    answers = [live.whole() for live in lives]
    assert {answer.status for answer in answers} == {400}
    assert len({answer.body for answer in answers}) == 1
    error = answers[0].json()
    assert error["type"] == "error" if path == MESSAGES else "type" in error["error"]
    assert spoken.provider.calls_of(prompt)["total"] == 1


def test_nobody_follows_a_request_in_another_dialect(spoken, speak, prompt):
    gate = prompt[8:16]
    asked = f"{prompt} [[fake: gate={gate}]]"
    lives = [speak(path, asked) for path in BODIES]
    wait_until(lambda: spoken.provider.calls()["held"] == len(BODIES), "each dialect has its own call")
    assert spoken.sidecar.gauge("kt_flight_followers") == 0
    spoken.provider.release(gate)
    for live in lives:
        assert_miss(live.whole())
