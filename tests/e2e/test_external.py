"""External policies through the front door: what the service is told, and what becomes of requests and answers where it is
slow, away, or talks nonsense."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from openai import APIStatusError, OpenAI

from group import Group, chat
from policies import says
from processes import free_port, wait_until


# What a service does that answers with no status.
SILENT, HANGS_UP = "silent", "hangs up"


class Judge:
    """A service that does what it is told, and remembers what it was asked."""

    def __init__(self):
        self.does, self.asked = None, []
        judge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                judge.asked.append((dict(self.headers), body))
                status, said = judge.does(body)
                if status == SILENT:
                    # Until whoever asks has given up.
                    self.rfile.read(1)
                if status in (SILENT, HANGS_UP):
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


ALLOW = (200, b'{"action":"allow"}')
BLOCK = (200, b'{"action":"block","categories":["tone"]}')
# What it does, and the word of it in the metric.
FAULTS = {
    "slow": ((SILENT, b""), "timeout"),
    "dropped": ((HANGS_UP, b""), "unreachable"),
    "error": ((500, b'{"action":"allow"}'), "status"),
    "garbage": ((200, b"<html>allow</html>"), "garbage"),
    "too-long": ((200, b'{"action":"allow","x":"' + b"y" * 100_000 + b'"}'), "answer-too-long"),
    "refused": (None, "unreachable"),
}


@pytest.fixture(scope="module")
def judge():
    judge = Judge()
    yield judge
    judge.close()


@pytest.fixture(scope="module")
def group(judge):
    with Group({"gateway": {"on_sidecar_loss": "unavailable"}}) as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id


@pytest.fixture(scope="module")
def key(group):
    return group.key(org="acme")


# A service that answers late on a busy machine has answered; one that says nothing is waited for in vain.
PATIENT_MS, HASTY_MS = 20_000, 300


def policies(name, port, **settings):
    settings = {"url": f"http://127.0.0.1:{port}/judge", "timeout_ms": PATIENT_MS, **settings}
    return {"gateway": {"on_sidecar_loss": "unavailable"}, "policies": {"chain": [name], "policy": {name: settings}}}


def silences(group, outcome):
    """How often a service has failed so, whichever policy asked it: their names make no series."""
    text = group.sidecar.metrics()
    lines = [line for line in text.splitlines() if line.startswith("kt_external_policy_requests_total")]
    return sum(float(line.split()[-1]) for line in lines if 'policy="external"' in line and f'outcome="{outcome}"' in line)


@pytest.mark.parametrize("stream", (False, True), ids=("JSON", "SSE"))
@pytest.mark.parametrize("phase", ("input", "output"))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_says_nothing_fails_open_or_closed_and_nothing_of_it_is_stored(
        group, key, judge, prompt, fault, phase, stream):
    does, word = FAULTS[fault]
    judge.does = lambda _: does
    # A service of its own for each test: a breaker that has opened in one is not the other's.
    name = f"external:{fault}-{phase}"
    port = judge.port if does else free_port()
    waits = {"apply_to": [phase], "timeout_ms": HASTY_MS if fault == "slow" else PATIENT_MS}
    group.configure(policies(name, port, on_failure="allow", **waits))
    before, calls = silences(group, word), group.provider.total()
    for gateway in (group.a, group.b):
        answer = gateway.ask(key, chat(prompt, stream=stream))
        assert (answer.status, answer.broke, answer.cache_status) == (200, None, "miss"), answer
    assert group.provider.total() == calls + 2, "nothing was stored"
    assert silences(group, word) == before + 2
    group.configure(policies(name, port, on_failure="block", **waits))
    answer = group.a.ask(key, chat(prompt, stream=stream))
    assert answer.status == 409 and answer.error["code"] == "policy_blocked", answer
    assert name in answer.error["message"] and answer.headers["x-should-retry"] == "false", answer
    assert group.provider.total() == calls + 2 + (phase == "output")


@pytest.mark.parametrize("phase", ("input", "output"))
def test_an_sdk_makes_one_call_of_what_a_service_blocks(group, key, judge, prompt, phase):
    judge.does = lambda body: BLOCK if body["phase"] == phase else ALLOW
    judge.asked.clear()
    group.configure(policies("external:sdk", judge.port))
    client = OpenAI(api_key=key.secret, base_url=f"{group.a.url}/v1", max_retries=2)
    calls = group.provider.total()
    with pytest.raises(APIStatusError) as refused:
        client.chat.completions.create(**chat(prompt))
    assert refused.value.status_code == 409 and "tone" in str(refused.value)
    assert group.provider.total() == calls + (phase == "output")
    assert [body["phase"] for _, body in judge.asked] == (["input"] if phase == "input" else ["input", "output"])


def test_what_the_service_is_told(group, key, judge, prompt, tmp_path):
    judge.does = lambda _: ALLOW
    judge.asked.clear()
    token = tmp_path / "token"
    token.write_text("of-the-service\n")
    group.configure(policies("external:told", judge.port, secret_key_ref={"file": str(token)}))
    for stream in (False, True):
        answer = group.a.ask(key, chat(f"{prompt} {stream} {says('Hello there.')}", stream=stream))
        assert answer.status == 200, answer
    assert len(judge.asked) == 4
    for (headers, body), phase in zip(judge.asked, ("input", "output") * 2):
        headers = {name.lower(): value for name, value in headers.items()}
        assert headers["authorization"] == "Bearer of-the-service" and headers["x-request-id"] == body["request_id"]
        assert (body["phase"], body["organization"], body["model"]) == (phase, "acme", "gpt-4o")
        assert body["request"]["messages"][0]["content"].startswith(prompt)
        assert ("answer" in body) == (phase == "output")
        assert key.secret not in json.dumps([headers, body])
        if phase == "output":
            assert body["texts"] == ["Hello there."]
            assert body["answer"]["choices"][0]["message"]["content"] == "Hello there."


def test_those_who_ask_at_once_are_judged_once_and_share_the_block(group, key, judge, prompt):
    gate = threading.Event()
    judge.does = lambda _: gate.wait(20) and BLOCK
    judge.asked.clear()
    group.configure(policies("external:once", judge.port, apply_to=["input"]))
    calls, answers = group.provider.total(), []
    asking = [threading.Thread(target=lambda to=to: answers.append(to.ask(key, prompt))) for to in (group.a, group.b)]
    asking[0].start()
    wait_until(lambda: judge.asked, "the service is asked")
    asking[1].start()
    group.sidecar.wait_followers(1)
    gate.set()
    for thread in asking:
        thread.join()
    assert [answer.status for answer in answers] == [409, 409]
    assert len(judge.asked) == 1 and group.provider.total() == calls
