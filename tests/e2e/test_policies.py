"""Policies through the front door: every policy, action, phase and shape, on a miss, a hit and a follower."""

import json
import sys
import threading

import pytest
from openai import APIStatusError, OpenAI

from answers import assert_hit
from group import Group, chat, unique
from policies import CARRIES, CLASSIFIER_PORT, JUDGES, PAGE, POLICIES, ROOT, SHAPES, config, page, rows, says
from processes import Process, wait_until


@pytest.fixture(scope="module")
def policed(tmp_path_factory):
    """A group whose policies change from test to test, beside the classifier that `external` asks."""
    script = ROOT / "examples/external-classifier/classifier.py"
    log = tmp_path_factory.mktemp("classifier") / "classifier.log"
    classifier = Process("classifier", [sys.executable, script, "--port", str(CLASSIFIER_PORT)], log)
    classifier.start()
    try:
        with Group({"gateway": {"on_sidecar_loss": "unavailable"}}) as group:
            wait_until(lambda: "ready" in log.read_text(), "the classifier is ready")
            yield from watched(group)
    finally:
        classifier.kill()


def watched(group):
    yield group
    for gateway in group.gateways:
        assert gateway.vms_lost() == 0, gateway.id
    for alarm in ("kt_corrupt", "kt_gate_mismatch", "kt_tickets_refused", "kt_reload_errors"):
        assert group.sidecar.metric(alarm) == 0, alarm


@pytest.fixture(scope="module")
def key(policed):
    return policed.key(org="acme")


def text_of(answer, shape):
    """What an SDK would put together."""
    if shape == "JSON":
        return answer.json()["choices"][0]["message"]["content"]
    choices = [chunk["choices"][0] for chunk in answer.chunks() if chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def asked(prompt, policy, phase, found, shape):
    """A request in which, or in whose answer, something is to be found, and the prompt as the provider counts it."""
    if phase == "input":
        return chat(f"{prompt} {found}", stream=shape == "SSE")
    answer = f"Here it is: {found} That is all."
    carried = dict(CARRIES.get(policy, {}))
    context = carried.pop("context", None)
    body = chat(f"{prompt} {says(answer)}", stream=shape == "SSE", **carried)
    if context:
        body["messages"].insert(0, {"role": "system", "content": context})
    return body


def test_the_page_of_outcomes_is_what_the_tests_show():
    assert PAGE.read_text() == page(), "run 'python tests/e2e/policies.py'"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("policy, action, phase", list(rows()))
def test_an_outcome(policed, key, prompt, policy, action, phase, shape):
    found, kind, placeholder, _ = POLICIES[policy]
    policed.configure(config(policy, action, phase))
    body = asked(prompt, policy, phase, found, shape)
    calls = policed.provider.total()
    if action == "block":
        answers = [policed.a.ask(key, body), policed.b.ask(key, body)]
        # Of an answer each was a miss of its own: nothing is stored. Of a request nobody was asked anything.
        assert policed.provider.total() == calls + (2 if phase == "output" else 0)
        if phase == "output":
            answers += together(policed, key, body, prompt)
        for answer in answers:
            is_blocked(answer, policy, found)
            # Whoever judges the whole has shown nothing of a stream.
            assert answer.status == 409 or policy not in JUDGES, answer
        return
    shown = found if action == "monitor" else placeholder
    paid = policed.a.ask(key, body)
    assert paid.status == 200 and paid.broke is None and paid.cache_status == "miss", paid
    hit = policed.b.ask(key, body)
    assert hit.cache_status == "hit", hit
    assert policed.provider.total() == calls + 1
    if phase == "output":
        expected = f"Here it is: {shown} That is all."
        assert text_of(paid, shape) == text_of(hit, shape) == expected
    else:
        forwarded = policed.provider.calls()["by_prompt"]
        assert f"{prompt} {shown}" in forwarded, forwarded
    logged = f"{policy}:{kind}:{action}"
    lines = [json.loads(line) for line in policed.sidecar.process.log.read_text().splitlines() if '"kt::request"' in line]
    assert logged in [line.get("guardrails_triggered") for line in lines][-4:], lines[-4:]
    answers = together(policed, key, body, prompt)
    assert sorted(answer.cache_status for answer in answers) == ["coalesced", "miss"]
    assert all(answer.status == 200 and answer.broke is None for answer in answers), answers
    if phase == "output":
        assert all(shown in text_of(answer, shape) for answer in answers), answers


def is_blocked(answer, policy, found):
    """A block, with one word on whether to try again, and without what was found."""
    assert found.encode() not in answer.body, answer
    if answer.status == 200:
        # Behind the first words of a stream: its error event, and a reset.
        assert answer.broke is not None and "policy_blocked" in answer.events()[-1], answer
        return
    assert answer.status == 409, answer
    assert answer.error["code"] == "policy_blocked" and policy in answer.error["message"], answer
    assert answer.headers["x-should-retry"] == "false", answer


def together(policed, key, body, prompt):
    """Two who ask at once, and the one call that answers both."""
    # A gate that was opened stays open, so none may be had twice.
    gate = unique()
    *before, last = body["messages"]
    content = last["content"].replace(prompt, f"{prompt} again [[fake: gate={gate}]]", 1)
    body = {**body, "messages": [*before, {**last, "content": content}]}
    calls, answers = policed.provider.total(), []
    asking = [threading.Thread(target=lambda to=to: answers.append(to.ask(key, body))) for to in (policed.a, policed.b)]
    asking[0].start()
    policed.provider.wait_at(gate)
    asking[1].start()
    policed.sidecar.wait_followers(1)
    policed.provider.release(gate)
    for thread in asking:
        thread.join()
    assert policed.provider.total() == calls + 1
    return answers


def test_an_sdk_does_not_try_a_blocked_request_again(policed, key, prompt):
    policed.configure(config("pii-detector", "block", "output"))
    client = OpenAI(api_key=key.secret, base_url=f"{policed.a.url}/v1", max_retries=2)
    calls = policed.provider.total()
    with pytest.raises(APIStatusError) as refused:
        client.chat.completions.create(**chat(f"{prompt} {says('to jane@example.com')}"))
    assert refused.value.status_code == 409
    assert policed.provider.total() == calls + 1


def test_the_arguments_of_a_call_are_redacted_and_still_json(policed, key, prompt):
    policed.configure(config("pii-detector", "redact", "output"))
    tool = {"type": "function", "function": {"name": "send", "parameters": {"type": "object", "properties": {}}}}
    arguments = json.dumps({"to": "jane@example.com", "card": 4111111111111111, "n": [1, 2]})
    for stream in (False, True):
        body = chat(f"{prompt} call send {says(arguments)}", tools=[tool], stream=stream)
        answer = policed.a.ask(key, body)
        assert answer.status == 200 and answer.broke is None, answer
        if stream:
            choices = [chunk["choices"][0]["delta"] for chunk in answer.chunks() if chunk["choices"]]
            calls = [call for delta in choices for call in delta.get("tool_calls") or []]
            told = "".join(call["function"].get("arguments") or "" for call in calls)
        else:
            told = answer.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
        assert json.loads(told) == {"to": "[EMAIL]", "card": "[CREDIT_CARD]", "n": [1, 2]}


def test_a_stricter_policy_shows_no_older_answer_and_the_old_one_its_own_again(policed, key, prompt):
    policed.configure(config("pii-detector", "monitor", "output"))
    body = chat(f"{prompt} {says('to jane@example.com')}")
    paid = policed.a.ask(key, body)
    assert "jane@example.com" in text_of(paid, "JSON")
    policed.configure(config("pii-detector", "redact", "output"))
    stricter = policed.b.ask(key, body)
    assert stricter.outcome == ("miss", "policy"), stricter
    assert "[EMAIL]" in text_of(stricter, "JSON")
    policed.configure(config("pii-detector", "monitor", "output"))
    assert_hit(policed.b.ask(key, body), of=paid)


def test_explain_reads_a_request_as_the_filter_does(policed, key, prompt):
    policed.configure(config("pii-detector", "redact", "input"))
    explained = [policed.sidecar.explain(key, "gw-a", chat(f"{prompt} {text}"))
                 for text in ("jane@example.com", "john@example.com", "nobody")]
    assert explained[0]["key"] == explained[1]["key"] != explained[2]["key"]


def test_blocked_requests_are_counted_where_nobody_else_saw_them(policed, key, prompt):
    policed.configure(config("pii-detector", "block", "input"))
    before = policed.sidecar.metric("llm_guardrail_blocks")
    assert policed.a.ask(key, f"{prompt} jane@example.com").status == 409
    wait_until(lambda: policed.sidecar.metric("llm_guardrail_blocks") == before + 1, "the block is counted")
