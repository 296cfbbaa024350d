"""Traces over OTLP, as a collector gets them: one request and the call behind it, one answer that many wait for."""

import json

from answers import assert_coalesced, assert_hit, assert_miss
from group import chat
from processes import free_port, wait_until
from traces import CLIENT, SERVER, Client, Traced, TracedFleet, of_kind
from wallet import Wallet


def test_one_coalesced_stream_is_one_tree_of_leader_followers_and_provider(traced, collector, crowd, prompt):
    client, gate = Client(), prompt[8:16]
    key = traced.key(org="traced", team="web", user="ada", agent="coder")
    body = chat(f"{prompt} [[fake: gate={gate}]]", stream=True)
    lead = crowd.one(traced.a, key, body, headers=client.headers)
    traced.provider.wait_at(gate)
    followers = crowd.ask([traced.b], key, body, count=2, headers=client.headers)
    wait_until(lambda: traced.sidecar.gauge("kt_flight_followers") == 2, "both follow")
    traced.provider.release(gate)
    paid = assert_miss(lead.whole())
    for follower in followers:
        assert_coalesced(follower.whole(), of=paid)
    spans = collector.wait_spans(client.trace_id, 4)
    [call], requests = of_kind(spans, CLIENT), of_kind(spans, SERVER)
    assert {span["parentSpanId"] for span in requests} == {client.span_id}
    [leader] = [span for span in requests if span["attributes"]["kt.cache"] == "miss"]
    assert call["parentSpanId"] == leader["spanId"] and leader["attributes"]["kt.gateway"] == "gw-a"
    for follower in requests:
        if follower is not leader:
            assert (follower["attributes"]["kt.cache"], follower["attributes"]["kt.gateway"]) == ("coalesced", "gw-b")
            assert follower["links"] == [{"traceId": client.trace_id, "spanId": leader["spanId"]}]
    # The provider is told of the call's span.
    sent = sent_for(traced, leader["attributes"]["kt.request_id"])
    assert sent["traceparent"] == f"00-{client.trace_id}-{call['spanId']}-01"


def test_so_is_a_stream_that_is_followed_at_other_sidecars(collector, crowd, prompt):
    client, gate = Client(), prompt[8:16]
    with TracedFleet(collector.url) as fleet:
        key = Wallet(fleet, "traced").fund(5_000_000).key()
        body = chat(f"{prompt} [[fake: gate={gate}@event:4]]", stream=True)
        lead = crowd.one(fleet.gateways[0], key, body, headers=client.headers)
        fleet.provider.wait_at(gate)
        followers = crowd.ask(fleet.gateways[1:], key, body, count=4, headers=client.headers)
        for live in followers:
            live.wait_events(4)
        fleet.provider.release(gate)
        paid = assert_miss(lead.whole())
        for follower in followers:
            assert_coalesced(follower.whole(), of=paid)
        assert fleet.provider.total() == 1
        spans = collector.wait_spans(client.trace_id, 6)
    [call], requests = of_kind(spans, CLIENT), of_kind(spans, SERVER)
    assert {span["parentSpanId"] for span in requests} == {client.span_id}
    [leader] = [span for span in requests if span["attributes"]["kt.cache"] == "miss"]
    assert (call["parentSpanId"], leader["attributes"]["kt.gateway"]) == (leader["spanId"], "gw-a")
    told = [(span["attributes"]["kt.gateway"], span["links"]) for span in requests if span is not leader]
    link = {"traceId": client.trace_id, "spanId": leader["spanId"]}
    assert sorted(told, key=lambda each: each[0]) == [("gw-b", [link])] * 2 + [("gw-c", [link])] * 2


def sent_for(group, request_id):
    """The headers of the one call that was made for a request."""
    [headers] = [headers for headers in (dict(map(tuple, each["headers"])) for each in group.provider.requests())
                 if headers.get("x-request-id") == request_id]
    return headers


def test_spans_have_the_conventions_names_and_nothing_that_was_said(traced, collector, prompt):
    client = Client()
    key = traced.key(org="named")
    assert_miss(traced.a.ask(key, prompt, headers=client.headers))
    spans = collector.wait_spans(client.trace_id, 2)
    for span in spans:
        attributes = span["attributes"]
        assert span["name"] == "chat gpt-4o"
        assert (attributes["gen_ai.operation.name"], attributes["gen_ai.provider.name"]) == ("chat", "openai")
        assert (attributes["gen_ai.request.model"], attributes["kt.org"]) == ("gpt-4o", "named")
        assert int(attributes["http.response.status_code"]) == 200
        assert int(attributes["gen_ai.usage.input_tokens"]) > 0 and int(attributes["gen_ai.usage.output_tokens"]) > 0
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) and "status" not in span
    text = json.dumps(collector.exports)
    assert prompt not in text and prompt[8:20] not in text and key.secret not in text


def test_a_hit_has_a_span_and_no_call(traced, collector, prompt):
    key, client = traced.key(org="hits"), Client()
    paid = assert_miss(traced.a.ask(key, prompt))
    assert_hit(traced.b.ask(key, prompt, headers=client.headers), of=paid)
    [span] = collector.wait_spans(client.trace_id, 1)
    assert (span["kind"], span["attributes"]["kt.cache"], span["parentSpanId"]) == (SERVER, "hit", client.span_id)


def test_a_failed_call_is_an_error_in_both_spans(traced, collector, prompt):
    key, client = traced.key(org="fails"), Client()
    assert traced.a.ask(key, f"{prompt} [[fake: status=400]]", headers=client.headers).status == 400
    spans = collector.wait_spans(client.trace_id, 2)
    [request], [call] = of_kind(spans, SERVER), of_kind(spans, CLIENT)
    assert request["status"] == {"code": 2, "message": "upstream_error"}
    assert call["status"] == {"code": 2, "message": "400"}
    assert {int(span["attributes"]["http.response.status_code"]) for span in spans} == {400}


def test_what_a_client_does_not_keep_is_not_exported_and_what_is_no_span_begins_a_trace(traced, collector, prompt):
    key, quiet, loud = traced.key(org="quiet"), Client(flags="00"), Client()
    assert_miss(traced.a.ask(key, prompt, headers=quiet.headers))
    garbled = traced.a.ask(key, f"{prompt} Again?", headers={"traceparent": "of my own"})
    assert assert_miss(garbled)
    assert_miss(traced.a.ask(key, f"{prompt} Loud?", headers=loud.headers))
    collector.wait_spans(loud.trace_id, 2)
    assert collector.spans(quiet.trace_id) == []
    assert "traceparent" in sent_for(traced, garbled.headers["x-request-id"])


def test_a_collector_that_is_away_costs_spans_and_nothing_else(prompt):
    with Traced(f"http://127.0.0.1:{free_port()}") as group:
        key = group.key(org="away")
        paid = assert_miss(group.a.ask(key, prompt))
        assert_hit(group.b.ask(key, prompt), of=paid)
        wait_until(lambda: 'kt_spans_total{result="lost"} 3' in group.sidecar.metrics(), "all three are counted")
        log = group.sidecar.process.log.read_text()
        assert log.count("the collector does not take spans") == 1
        assert '"trace_id":"' in log
