"""What a provider said is what the official SDKs see: live and from the cache, in both modes."""

import json
import re

from exchanges import ERROR_IN_BAND, EXCHANGES, every
from sdks import AZURE_API_VERSION


@every(lambda exchange: exchange.is_told)
def test_live_and_from_the_cache_it_is_the_recording(played, python, node, directly, through, exchange, prompt):
    body = exchange.asked(prompt)
    expected = {sdks.name: directly(sdks, exchange, body).answer for sdks in (python, node)}
    for first, second in ((python, node), (node, python)):
        body = exchange.asked(f"{prompt} by {first.name}")
        live = through(played.a, first, exchange, body)
        again = through(played.b, second, exchange, body)
        assert live.cache_status == "miss"
        assert again.cache_status == ("hit" if exchange.is_stored else "miss")
        if exchange.is_ours:
            assert live.error["code"] == again.error["code"] == "upstream_unauthorized"
            continue
        assert live.answer == expected[first.name]
        assert again.answer == expected[second.name]
        if exchange.is_stored:
            thrice = through(played.b, first, exchange, body)
            assert (thrice.cache_status, thrice.answer) == ("hit", live.answer)


@every(lambda exchange: not exchange.is_stored and re.search(rb'"finish_reason": ?"length"', exchange.body))
def test_an_answer_that_ended_by_length_is_stored_for_who_set_it(
        played, python, node, directly, through, exchange, prompt):
    body = exchange.asked(prompt, max_tokens=16)
    for sdks, cache_status in ((python, "miss"), (node, "hit"), (python, "hit")):
        seen = through(played.a, sdks, exchange, body)
        assert (seen.cache_status, seen.answer) == (cache_status, directly(sdks, exchange, body).answer)


# The helpers of the SDKs that put a stream together; completions have none.
HELPERS = {
    "chat.completions": "chat.completions.stream", "responses": "responses.stream", "messages": "messages.stream",
}


def together(sdks, exchange, ask, body):
    """The whole answer that a client of these SDKs makes of a stream, and where it came from."""
    if helper := HELPERS.get(exchange.resource):
        seen = ask(sdks, exchange, {name: value for name, value in body.items() if name != "stream"}, helper)
        assert seen.error is None, seen
        return seen.value, seen.cache_status
    seen = ask(sdks, exchange, body)
    assert seen.error is None, seen
    return completion(seen.events), seen.cache_status


def completion(events):
    """The completion that is told in chunks."""
    whole, choices = {}, {}
    for event in events:
        whole |= {name: value for name, value in event.items() if value is not None}
        for part in event["choices"]:
            index = part.get("index", 0)
            choice = choices.setdefault(index, {"index": index, "text": "", "finish_reason": None})
            choice["text"] += part.get("text", "")
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
            for name, values in (part.get("logprobs") or {}).items():
                choice.setdefault("logprobs", {}).setdefault(name, []).extend(values)
    return {**whole, "choices": [choices[index] for index in sorted(choices)]}


# What the helpers add to an answer, and what they drop or overwrite of Azure's.
OF_HELPERS = ["parsed", "parsed_arguments", "output_text", "content_filter_results", "prompt_filter_results"]


def told(value):
    """What an answer tells: a stream cannot tell nothing from null, and numbers its calls, which helpers keep."""
    match value:
        case dict():
            unsaid = ["object", *OF_HELPERS] + ["index"] * ("function" in value)
            return {name: told(part) for name, part in value.items() if name not in unsaid and part is not None}
        case list():
            return [told(part) for part in value]
    return value


@every(lambda exchange: exchange.is_helped and exchange.is_stream)
def test_helpers_put_the_same_answer_together(played, python, node, directly, through, exchange, prompt):
    for sdks in (python, node):
        body = exchange.asked(f"{prompt} by {sdks.name}")
        expected, _ = together(sdks, exchange, directly, body)
        assert together(sdks, exchange, through_gateway(through, played.a), body) == (expected, "miss")
        assert together(sdks, exchange, through_gateway(through, played.b), body) == (expected, "hit")


@every(lambda exchange: exchange.is_helped and exchange.is_stream)
def test_a_stream_is_replayed_as_the_object_that_it_tells(
        played, python, node, directly, through, reader, exchange, prompt):
    body = exchange.asked(prompt)
    through(played.a, python, exchange, body)
    as_object = exchange.in_other_mode(body)
    if not exchange.has_usage:
        # An object without usage is no answer of this provider: it is asked again.
        path = exchange.http_path(AZURE_API_VERSION)
        again = played.b.post(reader, json.dumps(as_object).encode(), path=path)
        assert again.outcome == ("miss", "shape")
        return
    # Node's helper drops what OpenAI's own chunks do not have, as `reasoning_content`.
    expected, _ = together(python, exchange, directly, body)
    for sdks in (python, node):
        replayed = through(played.b, sdks, exchange, as_object)
        assert replayed.cache_status == "hit"
        assert told(replayed.value) == told(expected)


@every(lambda exchange: exchange.is_helped and not exchange.is_stream)
def test_an_object_is_replayed_as_the_stream_that_tells_it(played, python, node, directly, through, exchange, prompt):
    body = exchange.asked(prompt)
    through(played.a, python, exchange, body)
    for sdks in (python, node):
        expected = directly(sdks, exchange, body).value
        as_stream = exchange.in_other_mode(body)
        replayed, cache_status = together(sdks, exchange, through_gateway(through, played.b), as_stream)
        assert cache_status == "hit"
        assert told(replayed) == told(expected)


def test_what_azure_filtered_is_told_in_either_mode(played, reader, prompt):
    def asked(exchange, gateway, change):
        body = change(exchange.asked(prompt))
        return gateway.post(reader, json.dumps(body).encode(), path=exchange.http_path(AZURE_API_VERSION))

    as_object, as_stream = EXCHANGES["openai-chat-json-azure"], EXCHANGES["openai-chat-sse-azure"]
    for exchange in (as_object, as_stream):
        paid = asked(exchange, played.a, lambda body: body)
        replayed = asked(exchange, played.b, exchange.in_other_mode)
        assert (paid.cache_status, replayed.cache_status) == ("miss", "hit")
        stream, whole = (replayed, paid) if exchange is as_object else (paid, replayed)
        assert whole.json()["choices"][0]["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
        for results in ("prompt_filter_results", "content_filter_results"):
            assert whole.json()["choices"][0].get(results) or whole.json()[results]
            assert results in str(stream.chunks())


def through_gateway(through, gateway):
    return lambda *what: through(gateway, *what)


@every(lambda exchange: exchange.is_told and exchange.is_stream and exchange.name not in ERROR_IN_BAND)
def test_the_sdks_raise_where_a_stream_was_cut(played, python, node, directly, through, exchange, prompt):
    events = len(exchange.event_ends())
    whole = {sdks.name: directly(sdks, exchange, exchange.asked(prompt)).events for sdks in (python, node)}
    for cut in (f"cut_after={events // 2}", f"end_after={events - 1}"):
        body = exchange.asked(prompt, cut)
        for sdks in (python, node):
            seen = through(played.a, sdks, exchange, body)
            assert seen.error and "broke off" in seen.error["message"], seen
            assert seen.events == whole[sdks.name][:len(seen.events)]


@every(lambda exchange: exchange.is_stored and exchange.resource == "embeddings")
def test_the_sdks_raise_where_embeddings_were_cut(played, python, node, through, exchange, prompt):
    half = len(exchange.body) // 2
    for cut in (f"cut_after_bytes={half}", f"truncate_chunked={half}"):
        body = exchange.asked(prompt, cut)
        for sdks in (python, node):
            seen = through(played.a, sdks, exchange, body)
            assert seen.error and seen.value is None, seen
