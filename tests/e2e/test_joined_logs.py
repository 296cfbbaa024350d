"""One request, told by everybody who had to do with it: Envoy's access log, the sidecar's log and the trace, joined by its
id."""

import json

import pytest

from answers import assert_coalesced, assert_hit, assert_miss, until_remembered
from group import chat
from processes import wait_until
from traces import CLIENT, SERVER, Client, of_kind

# What an account of a request has, by the reference and beside it; `null` and absent is the same.
WHO = {"org": "joined", "team": "web", "user": "ada", "agent": "coder", "codebase": "acme/web"}

# What a request's log line is asked for (docs/reference/logs.md, "Twelve fields"), by its name in Envoy's access log. No
# answer is read in Envoy: of a hit that has no line of the sidecar nobody tells the tokens.
TWELVE = {
    "timestamp": "timestamp", "request_id": "request_id", "user_id": "user_id", "model": "model", "provider": "provider",
    "latency_ms": "latency_ms", "cost_usd": "cost_usd", "cache_hit": "outcome", "guardrails_triggered": "guardrails_triggered",
    "status": "status", "input_tokens": None, "output_tokens": None,
}


@pytest.fixture
def key(traced):
    return traced.key(**{name: value for name, value in WHO.items() if name != "codebase"}, codebases=[WHO["codebase"]])


def lines(process, request_id):
    """What a process has logged of a request."""
    text = [line for line in process.log.read_text().splitlines() if request_id in line and line.startswith("{")]
    return [json.loads(line) for line in text]


class Told:
    """Everything that is told of one request."""

    def __init__(self, group, gateway, answer):
        self.id = answer.headers["x-request-id"]

        def access():
            return [line for line in lines(gateway.process, self.id) if line["log"] == "ingress"]
        # Envoy writes its log out now and then.
        [self.access] = wait_until(access, f"Envoy has logged {self.id}")
        logged = lines(group.sidecar.process, self.id)
        self.requests = [line for line in logged if line["target"] == "kt::request"]
        self.calls = [line for line in logged if line["target"] == "kt::call"]


def spans_of(spans, request_id):
    return [span for span in spans if span["attributes"]["kt.request_id"] == request_id]


def test_the_access_log_the_sidecars_log_and_the_trace_are_joined_by_the_requests_id(
        traced, collector, crowd, prompt, key):
    client, gate = Client(), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}]]", stream=True)
    headers = {**client.headers, "x-kt-codebase": WHO["codebase"]}
    lead = crowd.one(traced.a, key, body, headers=headers)
    traced.provider.wait_at(gate)
    follow = crowd.one(traced.b, key, body, headers=headers)
    traced.sidecar.wait_followers(1)
    traced.provider.release(gate)
    paid = assert_miss(lead.whole())
    followed = assert_coalesced(follow.whole(), of=paid)
    hit = assert_hit(traced.b.ask(key, body, headers=headers), of=paid)
    # The leader's request and call, the follower and the hit.
    spans = collector.wait_spans(client.trace_id, 4)
    assert {span["traceId"] for span in spans} == {client.trace_id}

    for gateway, answer, outcome, calls in (
            (traced.a, paid, "miss", 1), (traced.b, followed, "coalesced", 0), (traced.b, hit, "hit", 0)):
        told = Told(traced, gateway, answer)
        access = told.access
        for_log = {"org": "org_id", "team": "team_id", "user": "user_id", "agent": "agent_id", "codebase": "codebase"}
        assert {name: access[field] for name, field in for_log.items()} == WHO, access
        assert (access["gateway_id"], access["key_id"]) == (gateway.id, key.key_id)
        assert (access["model"], access["provider"], access["status"]) == ("gpt-4o", "openai", 200)
        # What comes from the filter's state is a text, in Envoy's JSON.
        assert isinstance(access["key_age_s"], str) and 0 <= int(access["key_age_s"]) < 3_600, access
        assert access["latency_ms"] >= 0, access
        # A span for each request, of the same key, gateway and outcome, and one more where a call was made.
        of_request = spans_of(spans, told.id)
        assert len(of_kind(of_request, CLIENT)) == calls
        [span] = of_kind(of_request, SERVER)
        assert (span["attributes"]["kt.cache"], span["attributes"]["kt.gateway"]) == (outcome, gateway.id)
        assert len(told.calls) == calls
        if outcome == "hit":
            # It came with the callout, and the filter has told it: the sidecar's line is for what takes the lane.
            assert (access["outcome"], told.requests) == ("hit", [])
            continue
        [line] = told.requests
        for_line = {**for_log, "org": "org", "team": "team", "agent": "agent"}
        assert {name: line[field] for name, field in for_line.items()} == WHO, line
        roles = {"gw-a": "primary", "gw-b": "fallback"}
        assert (line["gateway"], line["gateway_role"], line["key_id"]) == (gateway.id, roles[gateway.id], key.key_id)
        assert (line["trace_id"], line["outcome"], line["status"]) == (client.trace_id, outcome, "success")
        assert (line["model"], line["provider"], line["http_status"]) == ("gpt-4o", "openai", 200)
        assert line["cache_hit"] is False and line["reason"] and line["latency_ms"] >= 0 and line["guardrails_triggered"] == ""
        assert isinstance(line["key_age_s"], int) and 0 <= line["key_age_s"] < 3_600
        if outcome == "miss":
            [call] = told.calls
            assert (call["trace_id"], call["key_id"], call["end"]) == (client.trace_id, key.key_id, "served")
            assert (line["input_tokens"], line["output_tokens"]) == (call["input_tokens"], call["output_tokens"])
            assert line["cost_micro_usd"] == call["cost_micro_usd"] > 0
            spared = (call["input_tokens"], call["output_tokens"], call["cost_micro_usd"])
        else:
            assert (line["saved_input_tokens"], line["saved_output_tokens"], line["saved_micro_usd"]) == spared


def test_what_a_gateway_refuses_is_in_its_access_log_with_who_asked(traced, key, prompt):
    refused = traced.a.ask(key, prompt, model="no-such-model")
    assert refused.status == 404
    told = Told(traced, traced.a, refused)
    assert (told.requests, told.calls) == ([], [])
    assert (told.access["code"], told.access["org_id"], told.access["key_id"]) == (
        "model_not_found", "joined", key.key_id)
    nobody = Told(traced, traced.a, traced.a.ask(None, prompt)).access
    assert nobody["code"] == "missing_api_key" and nobody["key_id"] is None and nobody["key_age_s"] is None


def test_what_has_no_span_is_found_by_the_clients_trace_in_the_access_log(traced, key, prompt):
    client = Client()
    with traced.a.client() as connection:
        def ask():
            return traced.a.ask(key, prompt, headers=client.headers, client=connection)
        paid = assert_miss(ask())
        *_, remembered = until_remembered(ask, paid)
    told = Told(traced, traced.a, paid)
    assert told.access["traceparent"] is None and told.requests[0]["trace_id"] == client.trace_id
    refused = traced.a.ask(key, prompt, model="no-such-model", headers=client.headers)
    assert (remembered.detail, refused.status) == ("l1", 404)
    for answer in (remembered, refused):
        told = Told(traced, traced.a, answer)
        assert (told.requests, told.calls) == ([], [])
        assert told.access["traceparent"] == client.headers["traceparent"]
    # Whatever a client puts there, no more of it than a span is long.
    assert Told(traced, traced.a, traced.a.ask(None, prompt, headers={"traceparent": "x" * 500})).access["traceparent"] == "x" * 55
    assert Told(traced, traced.a, traced.a.ask(None, prompt)).access["traceparent"] is None


def test_the_twelve_fields_of_a_request_are_where_the_page_says(traced, key, prompt):
    with traced.a.client() as client:
        paid = assert_miss(traced.a.ask(key, prompt, client=client))
        hit, *_, remembered = until_remembered(lambda: traced.a.ask(key, prompt, client=client), paid)
    assert (hit.detail, remembered.detail) == ("shared", "l1")

    [line] = Told(traced, traced.a, paid).requests
    assert {name for name in TWELVE if line.get(name) is None} == set(), line
    assert line["cost_usd"] == line["cost_micro_usd"] / 1e6 > 0 and line["cache_hit"] is False
    assert (line["guardrails_triggered"], line["status"], line["http_status"]) == ("", "success", 200)

    for answer, outcome, cost in ((paid, "miss", line["cost_usd"]), (hit, "hit", 0), (remembered, "hit", 0)):
        told = Told(traced, traced.a, answer)
        # No policy has found anything.
        missing = {name for name, field in TWELVE.items() if field is None or told.access[field] is None}
        assert missing == {"input_tokens", "output_tokens", "guardrails_triggered"}, told.access
        assert (told.access["outcome"], told.access["status"], told.access["user_id"]) == (outcome, 200, WHO["user"])
        assert told.access["cost_usd"] == answer.headers["x-kt-cost-usd"] and float(told.access["cost_usd"]) == cost
        # Its key has no other codebase, and the client has named none.
        assert told.access["codebase"] == WHO["codebase"]
        assert len(told.requests) == (answer is paid)


def test_of_several_codebases_the_access_log_names_the_one_that_was_asked_about(traced, prompt):
    several = traced.key(org=WHO["org"], codebases=[WHO["codebase"], "acme/api"])
    hinted = traced.a.ask(several, prompt, headers={"x-kt-codebase": WHO["codebase"]})
    for answer, named, all_of_them in ((hinted, WHO["codebase"], WHO["codebase"]),
                                       (traced.a.ask(several, f"{prompt} of both"), None, "acme/api,acme/web")):
        told = Told(traced, traced.a, assert_miss(answer))
        [line] = told.requests
        assert (told.access["codebase"], line["codebase"]) == (named, all_of_them)
