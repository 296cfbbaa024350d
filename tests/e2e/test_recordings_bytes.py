"""Every byte that a provider sent reaches the client, and a stream that was cut is never told as a whole one."""

import asyncio
import itertools
import json

import httpx
import pytest

from answers import Answer
from exchanges import ERROR_IN_BAND, EXCHANGES, NEVER_ENDED, NOT_STORED, every
from raw import unchunked
from sdks import AZURE_API_VERSION

# How many questions are under way at once.
CONCURRENT = 64


@pytest.fixture
def post(reader):
    """Posts a body as it is, where the exchange was recorded."""
    def post(gateway, exchange, body):
        return gateway.post(reader, json.dumps(body).encode(), path=path_of(exchange), headers=headers_of(exchange))
    return post


def path_of(exchange):
    return exchange.http_path(AZURE_API_VERSION)


def headers_of(exchange):
    return {"anthropic-version": "2023-06-01"} if exchange.provider == "anthropic" else {}


def asked_for_all(exchange, prompt, *settings):
    """The exchange's request, such that nothing of the answer is hidden from the client."""
    everything = exchange.is_stream and exchange.has_usage_option
    more = {"stream_options": {"include_usage": True}} if everything else {}
    return exchange.asked(prompt, *settings, **more)


@every(lambda exchange: exchange.is_told and exchange.status == 200 and exchange.name not in ERROR_IN_BAND)
def test_the_bytes_are_the_providers(played, post, exchange, prompt):
    body = asked_for_all(exchange, prompt)
    live, again = post(played.a, exchange, body), post(played.b, exchange, body)
    assert (live.status, live.cache_status, live.broke) == (200, "miss", None)
    assert (again.status, again.cache_status, again.broke) == (200, "hit" if exchange.is_stored else "miss", None)
    assert live.body == exchange.body
    assert again.body == exchange.body
    for answer in (live, again):
        assert answer.headers["content-type"].split(";")[0] == exchange.headers["content-type"][0].split(";")[0]
    if exchange.is_stored:
        # What the provider's edge says belongs to the one call that paid.
        edge = ("set-cookie", "openai-organization", "cf-ray", "request-id", "anthropic-organization-id")
        assert not [name for name in again.headers if name in edge or "ratelimit" in name]


@every(lambda exchange: exchange.is_stored and len(exchange.body) < 20_000)
def test_the_bytes_are_the_providers_wherever_they_are_split(played, post, exchange, prompt):
    body = asked_for_all(exchange, prompt, "drip_bytes=1")
    live, again = post(played.a, exchange, body), post(played.b, exchange, body)
    assert (live.cache_status, live.broke, live.body) == ("miss", None, exchange.body)
    assert (again.cache_status, again.body) == ("hit", exchange.body)


@every(lambda exchange: exchange.name in ERROR_IN_BAND)
def test_an_error_in_a_stream_is_told_as_it_came(played, post, exchange, prompt):
    told = exchange.body[:next(end for end in exchange.event_ends() if b'"error":{' in exchange.body[:end])]
    for gateway in played.gateways:
        answer = post(gateway, exchange, asked_for_all(exchange, prompt))
        assert answer.cache_status == "miss"
        assert answer.body.startswith(told), answer


def test_a_stream_that_leaves_without_its_last_word_ends_with_an_error_and_a_reset(played, post, prompt):
    exchange = EXCHANGES[NEVER_ENDED]
    for gateway in played.gateways:
        answer = post(gateway, exchange, asked_for_all(exchange, prompt))
        assert answer.cache_status == "miss"
        assert answer.broke is not None, answer
        assert answer.body.startswith(exchange.body), answer
        assert "error" in json.loads(answer.events()[-1])


@every(lambda exchange: not exchange.is_stored)
def test_what_the_write_rule_refuses_is_not_stored(played, post, exchange, prompt):
    stored, before = played.sidecar.metric("kt_fills"), played.not_stored()
    answer = post(played.a, exchange, exchange.asked(prompt))
    assert answer.cache_status == "miss", answer
    why = "upstream_unauthorized" if exchange.is_ours else NOT_STORED.get(exchange.name, "status")
    assert played.not_stored() == {**before, why: before.get(why, 0) + 1}
    assert post(played.b, exchange, exchange.asked(prompt)).cache_status == "miss"
    assert played.sidecar.metric("kt_fills") == stored


@every(lambda exchange: exchange.status != 200 and not exchange.is_ours)
def test_an_error_is_the_providers_byte_for_byte(played, post, exchange, prompt):
    answer = post(played.a, exchange, exchange.asked(prompt))
    assert (answer.status, answer.broke, answer.body) == (exchange.status, None, exchange.body)
    assert answer.headers.get("retry-after") == exchange.headers.get("retry-after", [None])[0]


async def fetch(gateway, key, exchange, body, **headers):
    """Asks on a connection of its own, and reads until that ends; a library would take longer than the gateway."""
    content = json.dumps(body).encode()
    lines = {
        "host": "gateway", "connection": "close", "content-type": "application/json",
        "authorization": f"Bearer {key.secret}", "content-length": len(content), **headers_of(exchange), **headers,
    }
    head = f"POST {path_of(exchange)} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(f"{head}\r\n".encode() + content)
        data, broke = bytearray(), None
        try:
            while piece := await reader.read(65536):
                data += piece
        except ConnectionError as error:
            broke = error
    finally:
        writer.close()
    return answered(bytes(data), broke)


def answered(data, broke):
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = httpx.Headers([line.split(": ", 1) for line in lines])
    if headers.get("transfer-encoding") == "chunked":
        if not body.endswith(b"0\r\n\r\n"):
            return Answer(int(status.split()[1]), headers, body, broke or EOFError("no last chunk"))
        body = unchunked(body)
    elif len(body) < int(headers["content-length"]):
        broke = broke or EOFError("shorter than its length")
    return Answer(int(status.split()[1]), headers, body, broke)


async def gathered(tasks):
    """What all of them return, a bounded number at a time."""
    turns = asyncio.Semaphore(CONCURRENT)

    async def one(task):
        async with turns:
            return await asyncio.wait_for(task, 60)
    return await asyncio.gather(*map(one, tasks))


@pytest.mark.parametrize("cut", ["cut_after", "end_after"], ids=["reset", "clean-end"])
def test_no_cut_of_a_stream_at_an_event_is_stored_or_ends_cleanly(played, reader, prompt, cut):
    """At every event of every stream: the provider's connection is reset there, or ends there as if all were said."""
    gateways = itertools.cycle(played.gateways)

    async def asked_twice(exchange, events):
        body = asked_for_all(exchange, prompt, f"{cut}={events}")
        first = await fetch(next(gateways), reader, exchange, body)
        second = await fetch(next(gateways), reader, exchange, body, **{"cache-control": "only-if-cached"})
        return exchange, events, first, second

    stored = played.sidecar.metric("kt_fills")
    streams = [exchange for exchange in EXCHANGES.values() if exchange.is_stream]
    cuts = [(exchange, events) for exchange in streams for events in range(len(exchange.event_ends()))]
    answers = asyncio.run(gathered(asked_twice(*cut) for cut in cuts))
    wrong = [(exchange.name, events, first, second) for exchange, events, first, second in answers
             if not is_told(first) or second.cache_status == "hit"]
    assert not wrong, f"{len(wrong)} of {len(answers)}; the first: {wrong[0]}"
    assert played.sidecar.metric("kt_fills") == stored


@pytest.mark.parametrize("cut", ["cut_after_bytes", "truncate_chunked"], ids=["reset", "clean-end"])
def test_no_cut_of_an_object_is_stored_or_taken_for_the_whole(played, reader, prompt, cut):
    """As streams, at several bytes of every object; of embeddings, numbers and base64."""
    gateways = itertools.cycle(played.gateways)

    async def asked_twice(exchange, length):
        body = exchange.asked(prompt, f"{cut}={length}")
        first = await fetch(next(gateways), reader, exchange, body)
        second = await fetch(next(gateways), reader, exchange, body, **{"cache-control": "only-if-cached"})
        return exchange, length, first, second

    stored = played.sidecar.metric("kt_fills")
    objects = [exchange for exchange in EXCHANGES.values() if not exchange.is_stream and exchange.status == 200]
    assert {"float", "base64"} <= {exchange.request.get("encoding_format") for exchange in objects}
    cuts = [(exchange, length) for exchange in objects for length in lengths(exchange.body)]
    answers = asyncio.run(gathered(asked_twice(*cut) for cut in cuts))
    wrong = [(exchange.name, length, first, second) for exchange, length, first, second in answers
             if not is_told(first) or second.cache_status == "hit"]
    assert not wrong, f"{len(wrong)} of {len(answers)}; the first: {wrong[0]}"
    assert played.sidecar.metric("kt_fills") == stored


def lengths(body):
    """How much of an object comes; what follows its last bracket is not missed."""
    whole = len(body.rstrip())
    return sorted({0, 1, *(whole * part // 8 for part in range(1, 8)), whole - 1})


def is_told(answer):
    """Whether the client can tell that this is not the whole answer."""
    return answer.status >= 500 if answer.broke is None else answer.status == 200
