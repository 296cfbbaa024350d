"""Policies through the front door: every policy, action, phase and shape, on a miss, a hit and a follower."""

import json
import sys
from collections import Counter
from contextlib import contextmanager

import anthropic
import openai
import pytest

from answers import Answer, assert_hit
from group import chat, unique
from policies import (BLOCKED, BLOCKED_LATE, CARRIES, CLASSIFIER_PORT, JUDGES, PAGE, POLICIES, ROOT, SHAPED, SHAPES, WHAT, Seen, config,
                      may_end_late, outcome, page, rows, says)
from processes import Process, wait_until
from wallet import CLAUDE, Paying

# What an answer says before the words that matter: longer than any policy holds back, half of the body at least.
BEFORE = ("Here it is, and before it there is some more that says nothing at all, so that whoever reads along has something to "
          "read by then, and may go on with it for as long as it likes, until at last the words come: ")
# The example's classifier counts words: among many others it makes nothing of a few. It holds nothing back, either.
SHORTLY = {"external": "Here it is: "}


@pytest.fixture(scope="module")
def policed(tmp_path_factory):
    """A group whose policies change from test to test, beside the classifier that `external` asks."""
    script = ROOT / "examples/external-classifier/classifier.py"
    log = tmp_path_factory.mktemp("classifier") / "classifier.log"
    classifier = Process("classifier", [sys.executable, script, "--port", str(CLASSIFIER_PORT)], log)
    classifier.start()
    try:
        with Paying() as group:
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


@pytest.fixture
def wallet(policed):
    """The money of an organization that nobody else is in."""
    return policed.wallet(50_000_000)


@pytest.fixture
def key(wallet):
    return wallet.key()


def text_of(answer, shape):
    """What an SDK would put together."""
    if shape == "JSON":
        return answer.json()["choices"][0]["message"]["content"]
    choices = [chunk["choices"][0] for chunk in answer.chunks() if chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def asked(prompt, policy, phase, found, shape):
    """A request in which, or in whose answer, something is to be found, and the prompt as the provider counts it."""
    if phase == "input":
        body = chat(f"{prompt} {found}", stream=shape == "SSE")
        return {**body, "messages": [*SHAPED.get(policy, []), *body["messages"]]}
    answer = f"{SHORTLY.get(policy, BEFORE)}{found} That is all."
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
def test_an_outcome(policed, wallet, key, crowd, prompt, policy, action, phase, shape):
    policed.configure(config(policy, action, phase))
    row = Row(policed, wallet, key, crowd, prompt, policy, action, phase, shape)
    promised = {way: outcome(action, phase, shape, way, policy in JUDGES) for way in ("miss", "hit", "follower")}
    body = asked(prompt, policy, phase, POLICIES[policy][0], shape)
    assert row.alone("miss", policed.a, body).words() == promised["miss"]
    assert row.alone("hit", policed.b, body).words() == promised["hit"]
    if action != "block":
        wait_until(row.is_logged, "what was found is in the log")
    assert row.together(body).words() == promised["follower"]


class Row:
    """A row of the table, played in one shape."""

    def __init__(self, group, wallet, key, crowd, prompt, policy, action, phase, shape):
        self.group, self.wallet, self.key, self.crowd, self.prompt = group, wallet, key, crowd, prompt
        self.policy, self.action, self.phase, self.shape = policy, action, phase, shape
        self.found, self.kind, self.placeholder, _ = POLICIES[policy]
        self.log_lines = len(self.log())

    def alone(self, way, gateway, body):
        """One client."""
        with self.watched() as facts:
            answer = gateway.ask(self.key, body)
        is_hit = answer.cache_status == "hit"
        assert is_hit or answer.status != 200 or answer.cache_status == "miss", answer
        return Seen(way, self.ending([answer], self.prompt if facts["calls"] else None), is_hit, **facts)

    def together(self, body):
        """Two who ask at once, at two gateways."""
        # A gate that was opened stays open, so none may be had twice.
        gate, again = unique(), f"{self.prompt} again"
        reads_live = self.action != "block" and self.shape == "SSE"
        *before, last = body["messages"]
        gated = f"{again} [[fake: gate={gate}{'@body' if reads_live else ''}]]"
        content = last["content"].replace(self.prompt, gated, 1)
        body = {**body, "messages": [*before, {**last, "content": content}]}
        is_called = self.action != "block" or self.phase == "output"
        with self.watched() as facts:
            lives = [self.crowd.one(self.group.a, self.key, body)]
            if is_called:
                self.group.provider.wait_at(gate)
            lives.append(self.crowd.one(self.group.b, self.key, body))
            if is_called:
                self.group.sidecar.wait_followers(1)
            if reads_live:
                self.reads_already(lives[1])
            self.group.provider.release(gate)
            answers = [live.whole() for live in lives]
        if self.action != "block":
            assert sorted(answer.cache_status for answer in answers) == ["coalesced", "miss"]
        ending = self.ending(answers, again if facts["calls"] else None) + (", live" if reads_live else "")
        return Seen("follower", ending, False, **facts)

    def reads_already(self, live):
        """Waits until it has read some of what is said."""
        def some():
            whole, _, _ = bytes(live.body).rpartition(b"\n\n")
            return whole and text_of(Answer(live.status, live.headers, whole), "SSE")
        self.crowd.wait(some, "who follows reads along")
        assert not live.ended, live

    @contextmanager
    def watched(self):
        """What comes, in numbers, of what is done meanwhile."""
        def numbers():
            metric = self.group.sidecar.metric
            return {"lookups": metric("kt_lookups"), "calls": self.group.provider.total(), "fills": metric("kt_fills")}
        before, rows, facts = numbers(), Counter(self.wallet.rows()), {}
        yield facts
        wait_until(lambda: self.wallet.pending == 0, "all that was set aside is settled")
        facts.update({name: int(value - before[name]) for name, value in numbers().items()})
        facts["booked"] = dict(Counter(self.wallet.rows()) - rows)

    def ending(self, answers, forwarded):
        """How all of them ended, in the words of the table; `forwarded` is how the prompt of their call begins."""
        if self.action == "block":
            for answer in answers:
                is_blocked(answer, self.policy, self.found, may_end_late(self.policy, self.phase, self.shape))
            return BLOCKED_LATE if may_end_late(self.policy, self.phase, self.shape) else BLOCKED
        assert all(answer.status == 200 and answer.broke is None for answer in answers), answers
        if self.phase == "output":
            before = SHORTLY.get(self.policy, BEFORE)
            told = {text_of(answer, self.shape).removeprefix(before).removesuffix(" That is all.") for answer in answers}
            return f"the answer {self.what(told)}"
        if forwarded is None:
            return "answered"
        prompts = [prompt for prompt in self.group.provider.calls()["by_prompt"] if prompt.startswith(f"{forwarded} ")]
        told = {prompt.removeprefix(forwarded).strip() for prompt in prompts}
        return f"answered, asked for {self.what(told)}"

    def what(self, told):
        """Whether it stands there as it came or with the kind of it in its place, in the words of the table."""
        return {self.found: WHAT["monitor"], self.placeholder: WHAT["redact"]}.get(*told) if len(told) == 1 else told

    def log(self):
        return self.group.sidecar.process.log.read_text().splitlines()

    def is_logged(self):
        """Whether a line of the log since it began says what was found."""
        lines = [json.loads(line) for line in self.log()[self.log_lines:] if '"kt::request"' in line]
        return f"{self.policy}:{self.kind}:{self.action}" in [line.get("guardrails_triggered") for line in lines]


def is_blocked(answer, policy, found, may_end_late):
    """A block, with one word on whether to try again, and without what was found."""
    assert found.encode() not in answer.body, answer
    if answer.status == 200 and may_end_late:
        # Behind the first words of a stream: its error event, and a reset.
        assert answer.broke is not None and "policy_blocked" in answer.events()[-1], answer
        return
    assert answer.status == 409, answer
    assert answer.error["code"] == "policy_blocked" and policy in answer.error["message"], answer
    assert answer.headers["x-should-retry"] == "false", answer


def openai_asks(gateway, key, content):
    client = openai.OpenAI(api_key=key.secret, base_url=f"{gateway.url}/v1", max_retries=2)
    client.chat.completions.create(**chat(content))


def anthropic_asks(gateway, key, content):
    client = anthropic.Anthropic(api_key=key.secret, base_url=gateway.url, max_retries=2)
    client.messages.create(**chat(content, max_tokens=100) | {"model": CLAUDE})


def received(gateway):
    """How many requests have come to a gateway, by its Envoy's own count."""
    return gateway.envoy_stats()["http.ingress.downstream_rq_total"]


@pytest.mark.parametrize("sdk, error", [(openai_asks, openai.APIStatusError), (anthropic_asks, anthropic.APIStatusError)])
@pytest.mark.parametrize("phase, calls", [("input", 0), ("output", 1)])
def test_an_sdk_sends_a_blocked_request_once(policed, key, prompt, phase, calls, sdk, error):
    policed.configure(config("pii-detector", "block", phase))
    sent, before = received(policed.a), policed.provider.total()
    with pytest.raises(error) as refused:
        sdk(policed.a, key, f"{prompt} {'jane@example.com' if phase == 'input' else says('to jane@example.com')}")
    assert refused.value.status_code == 409
    assert (received(policed.a) - sent, policed.provider.total() - before) == (1, calls)


@pytest.mark.parametrize("sdk, error", [(openai_asks, openai.APIStatusError), (anthropic_asks, anthropic.APIStatusError)])
def test_an_sdk_sends_again_what_a_provider_refuses_with_the_same_status(policed, key, prompt, sdk, error):
    """What the count above would show, if a block did not say that it is final."""
    sent = received(policed.a)
    with pytest.raises(error) as refused:
        sdk(policed.a, key, f"{prompt} [[fake: status=409]]")
    assert (refused.value.status_code, received(policed.a) - sent) == (409, 3)


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
