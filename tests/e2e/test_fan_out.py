"""Followers see the answer as it comes, each in the shape that it asked for, and nobody waits for the slowest."""

import json

import pytest

from answers import assert_coalesced, assert_hit, assert_miss
from group import chat

USAGE = {"stream": True, "stream_options": {"include_usage": True}}
SHAPES = {"json": {}, "sse": {"stream": True}, "sse-usage": USAGE}
# As many events as these tests watch one by one.
WATCHED = 8


def direct(group, prompt, **fields):
    """What the provider itself answers, and where it differs by its call: a caller compares the rest."""
    key = group.key(org="direct")
    answer = group.a.ask(key, prompt, headers={"cache-control": "no-store"}, **fields)
    assert answer.outcome == ("bypass", "client-no-cache"), answer
    return answer


def without_call(answer):
    """The body without what tells its call: number and second."""
    call = answer.id.rpartition("-")[2]
    if answer.headers["content-type"].startswith("text/event-stream"):
        chunks = [{**chunk, "id": 0, "created": 0} for chunk in answer.chunks()]
        return [answer.events()[-1], *chunks]
    return json.loads(answer.body.replace(b"_" + call.encode(), b"_N")) | {"id": 0, "created": 0}


def test_followers_see_each_event_before_the_provider_may_send_the_next(four, crowd, prompt):
    key, gate = four.key(org="acme"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}@each]]", stream=True)
    lead = crowd.one(four.a, key, body)
    lead.wait_events(1)
    followers = crowd.ask(four.gateways, key, body, count=8)
    four.sidecar.wait_followers(8)
    for events in range(1, WATCHED):
        for live in (lead, *followers):
            live.wait_events(events)
        assert [call["events"] for call in four.provider.running(prompt)] == [events]
        four.provider.release(gate, count=1)
    four.provider.release(gate)
    paid = assert_miss(lead.whole())
    assert all(assert_coalesced(follower.whole()).body == paid.body for follower in followers)


def test_who_joins_late_has_at_once_what_the_others_have(four, crowd, prompt):
    key, gate = four.key(org="acme"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}@event:10]]", stream=True)
    lead = crowd.one(four.a, key, body)
    lead.wait_events(10)
    for gateway in four.gateways:
        late = crowd.one(gateway, key, body)
        late.wait_events(10)
        assert late.body == lead.body
        assert not late.ended
    four.provider.release(gate)
    assert_miss(lead.whole())


@pytest.mark.parametrize("leads", SHAPES)
def test_each_reader_of_one_flight_gets_the_shape_that_it_asked_for(four, crowd, prompt, leads):
    key, gate = four.key(org="acme"), prompt[8:16]
    asked = f"{prompt} [[fake: gate={gate}@event:5]]"
    lead = crowd.one(four.a, key, chat(asked, **SHAPES[leads]))
    four.provider.wait_at(gate)
    lives = {shape: crowd.ask(four.gateways, key, chat(asked, **fields), count=4) for shape, fields in SHAPES.items()}
    four.sidecar.wait_followers(12)
    four.provider.release(gate)
    paid = assert_miss(lead.whole())
    for shape, fields in SHAPES.items():
        answers = [assert_coalesced(live.whole(), of=paid) for live in lives[shape]]
        assert {answer.body for answer in answers} == {answers[0].body}, shape
        hit = assert_hit(four.b.ask(key, asked, **fields), of=paid)
        alone = direct(four, asked, **fields)
        assert answers[0].headers["content-type"] == alone.headers["content-type"]
        assert said(answers[0]) == said(hit) == said(alone), shape
        if ("stream" in fields) == ("stream" in SHAPES[leads]):
            # Told in the mode in which it was called: nothing is put together anew.
            assert without_call(answers[0]) == without_call(hit) == without_call(alone), shape
    assert four.provider.calls_of(prompt)["total"] == 1 + len(SHAPES)


@pytest.mark.parametrize("fields", [
    {"n": 3}, {"logprobs": True}, {"tools": [{"type": "function", "function": {
        "name": "look_up", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]},
], ids=lambda fields: next(iter(fields)))
@pytest.mark.parametrize("leads", ["json", "sse"])
def test_no_part_of_an_answer_is_lost_on_the_way_to_a_follower(four, crowd, prompt, leads, fields):
    key, gate = four.key(org="acme"), prompt[8:16]
    asked = f"{prompt} call look_up [[fake: gate={gate}@event:3, reasoning=3]]"
    lead = crowd.one(four.a, key, chat(asked, **SHAPES[leads], **fields))
    four.provider.wait_at(gate)
    lives = {shape: crowd.one(four.b, key, chat(asked, **how, **fields)) for shape, how in SHAPES.items()}
    four.sidecar.wait_followers(3)
    four.provider.release(gate)
    paid = assert_miss(lead.whole())
    told = {shape: assert_coalesced(live.whole(), of=paid) for shape, live in lives.items()}
    for shape, how in SHAPES.items():
        assert said(told[shape]) == said(direct(four, asked, **how, **fields)), (shape, told[shape])


def said(answer):
    """Per choice: content, reasoning, calls, probabilities and how it ended, wherever a shape has them."""
    body, choices = without_call(answer), {}
    for part in body[1:] if isinstance(body, list) else [body]:
        for choice in part["choices"]:
            said = choices.setdefault(choice["index"], {"content": "", "reasoning": "", "calls": {}, "logprobs": []})
            message = choice.get("delta", choice.get("message"))
            said["content"] += message.get("content") or ""
            said["reasoning"] += message.get("reasoning_content") or ""
            for at, call in enumerate(message.get("tool_calls") or []):
                of_call = said["calls"].setdefault(call.get("index", at), {"name": "", "arguments": ""})
                for name in of_call:
                    of_call[name] += call["function"].get(name) or ""
            said["logprobs"] += (choice.get("logprobs") or {}).get("content") or []
            said["finish"] = choice.get("finish_reason") or said.get("finish")
    return choices


@pytest.mark.fault(7, 46)
def test_a_reader_that_never_reads_holds_back_nobody(four, crowd, prompt):
    key, gate = four.key(org="acme"), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}@event:1, size=4000000, delta_ms=0]]", stream=True)
    lead = crowd.one(four.a, key, body, reading=False)
    four.provider.wait_at(gate)
    asleep = crowd.ask(four.gateways, key, body, count=4, reading=False)
    awake = crowd.ask(four.gateways, key, body, count=4)
    four.sidecar.wait_followers(8)
    four.provider.release(gate)
    told = [assert_coalesced(live.whole()) for live in awake]
    assert four.provider.calls_of(prompt)["by_outcome"] == {"ok": 1}
    assert not lead.ended and not any(live.ended for live in asleep)
    hit = assert_hit(four.b.ask(key, body))
    for live in (lead, *asleep):
        live.read_on()
    assert {live.whole().body for live in (lead, *asleep)} == {told[0].body}
    assert said(hit) == said(told[0])


@pytest.mark.fault(7)
def test_a_reader_too_far_behind_an_endless_answer_is_reset_and_the_fastest_is_served(four, crowd, prompt):
    key, gate = four.key(org="acme"), prompt[8:16]
    # More than an entry may have: what the fastest has read is not kept for those who do not read.
    body = chat(f"{prompt} [[fake: gate={gate}@event:1, size=24000000, delta_ms=0]]", stream=True)
    lead = crowd.one(four.a, key, body)
    four.provider.wait_at(gate)
    asleep = crowd.ask(four.gateways, key, body, count=3, reading=False)
    four.sidecar.wait_followers(3)
    four.provider.release(gate)
    whole = lead.whole()
    assert whole.broke is None and whole.events()[-1] == "[DONE]", whole
    for live in asleep:
        live.read_on()
        lost = live.whole()
        assert lost.broke is not None and not lost.body.endswith(b"[DONE]\n\n"), lost
    assert four.provider.calls_of(prompt)["total"] == 1
