"""The sidecar gone or frozen: bounded, checked all the same, and healed without a restart of any gateway."""

import concurrent.futures
import signal
import threading
import time
import uuid

import httpx
import pytest

from answers import LOST, assert_hit, assert_miss, assert_refused, until_remembered
from group import ADMIT_TIMEOUT_MS, UPSTREAM_KEY, chat
from processes import wait_until

# Far above the budgets (50 ms to connect, 1.9 s to admit, 3 s of keepalive), far below what a hang takes.
BOUND_S = 20.0


@pytest.fixture
def own(edited):
    """The changeable group, with its sidecar running again after the test."""
    yield edited
    mend(edited)


def mend(group):
    """The sidecar runs, with the group's configuration, and every gateway goes through it."""
    if group.sidecar.process.is_alive():
        group.sidecar.process.thaw()
    else:
        group.sidecar.restart()
    group.provider.release()
    wait_until(group.sidecar.is_ready, "the sidecar is ready")
    # The first that a gateway hears of a new sidecar makes it forget whom it knows. No test is to begin before that.
    heard = {gateway: feed_answers(gateway) for gateway in group.gateways}
    group.configure({})
    for gateway in group.gateways:
        wait_until(lambda: feed_answers(gateway) > heard[gateway], f"{gateway.id} has heard of the sidecar")
    wait_recovered(group)


def wait_recovered(group):
    """Until every gateway goes through the sidecar again."""
    key = group.key(org="recovery")
    for gateway in group.gateways:
        wait_until(lambda: gateway.ask(key, f"Are you back? {uuid.uuid4()}").cache_status == "miss",
                   f"{gateway.id} goes through the sidecar again")


def feed_answers(gateway):
    """How many polls of its sidecar were answered, by its own count."""
    return gateway.envoy_stats().get("wasmcustom.kt_filter_callouts_total.call.feed.result.answered", 0)


def kill(group):
    # It has no children: a look for some would take its part of the second in which a gateway trusts its memory.
    group.sidecar.process.signal(signal.SIGKILL)
    group.sidecar.process.wait()


def freeze(group):
    group.sidecar.process.freeze()


def passed_by(gateway):
    """How many requests have gone past its sidecar, by its own count."""
    return sum(value for name, value in gateway.envoy_stats().items() if ".kt_filter_direct_total." in name)


def bounded(ask):
    """The answer, which must come within the budgets."""
    begin = time.monotonic()
    answer = ask()
    assert time.monotonic() - begin < BOUND_S, answer
    return answer


@pytest.mark.parametrize("lose", [kill, freeze])
def test_the_gateways_memory_answers_first_and_then_the_provider(own, prompt, lose):
    key = own.key(org="acme")

    def hits_without_a_sidecar(question):
        with own.a.client() as client:
            def ask():
                return bounded(lambda: own.a.ask(key, question, client=client))
            paid, hits = assert_miss(ask()), []
            until_remembered(ask, paid)
            lose(own)
            end = time.monotonic() + BOUND_S
            while (answer := ask()).cache_status == "hit":
                assert assert_hit(answer, of=paid).detail == "l1"
                hits.append(answer)
                assert time.monotonic() < end, "the memory's second of freshness is over"
        assert answer.status == 200 and answer.outcome in LOST, answer
        assert answer.id != paid.id
        return hits
    for attempt in range(10):
        if hits_without_a_sidecar(f"{prompt} {attempt}"):
            return
        # The machine was so busy that the second was over before anybody asked.
        mend(own)
    raise AssertionError("the memory has never answered")


@pytest.mark.parametrize("lose", [kill, freeze])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_without_its_sidecar_a_gateway_calls_the_provider_directly(own, prompt, lose, stream):
    key = own.key(org="acme")
    for gateway in own.gateways:
        assert_miss(gateway.ask(key, f"{prompt} before, at {gateway.id}"))
    before = {gateway.id: passed_by(gateway) for gateway in own.gateways}
    lose(own)
    for gateway in own.gateways:
        body = chat(f"{prompt} at {gateway.id}", stream=stream)
        ids = set()
        for _ in range(3):
            direct = bounded(lambda: gateway.ask(key, body))
            assert direct.status == 200 and direct.broke is None and direct.outcome in LOST, direct
            ids.add(direct.id)
        assert len(ids) == 3
        wait_until(lambda: passed_by(gateway) == before[gateway.id] + 3, f"{gateway.id} has counted what went past its sidecar")
    for request in own.provider.requests()[-6:]:
        headers = dict(request["headers"])
        assert headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
        assert not [name for name in headers if name.startswith("x-kt-")], headers


def test_a_sidecar_that_is_silent_is_waited_for_as_long_as_the_configuration_says(own, prompt):
    key = own.key(org="acme")
    assert_miss(own.a.ask(key, f"{prompt} before"))
    freeze(own)
    begin = time.monotonic()
    direct = bounded(lambda: own.a.ask(key, prompt))
    assert direct.outcome == ("bypass", "sidecar-lost"), direct
    assert time.monotonic() - begin >= ADMIT_TIMEOUT_MS / 1000


# What a client sees of an answer beside what says how it came.
PASSED_ON = {"content-type", "content-length", "transfer-encoding", "date", "retry-after"}
OURS = {"x-request-id", "x-cache-status", "cache-status", "x-fabric-attached", "x-kt-served-by"}
# Where it is known.
PRICED = {"x-kt-cost-usd"}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_no_way_to_the_provider_tells_of_its_account(own, prompt, stream):
    key = own.key(org="acme")
    limited = f"{prompt} [[fake: status=429, retry_after=7]]"
    by_lane = assert_miss(own.a.ask(key, f"{prompt} by lane [[fake: forge]]", stream=stream))
    by_lane_limited = own.a.ask(key, f"{limited} by lane", stream=stream)
    kill(own)
    direct = bounded(lambda: own.a.ask(key, f"{prompt} [[fake: forge]]", stream=stream))
    direct_limited = bounded(lambda: own.a.ask(key, limited, stream=stream))
    assert direct.outcome in LOST and direct.status == 200, direct
    assert direct_limited.outcome in LOST and direct_limited.status == by_lane_limited.status == 429, direct_limited
    assert direct_limited.headers["retry-after"] == by_lane_limited.headers["retry-after"] == "7"
    for answer in [by_lane, by_lane_limited, direct, direct_limited]:
        assert set(answer.headers) <= PASSED_ON | OURS | PRICED, answer.headers
        assert OURS <= set(answer.headers), answer.headers
        assert answer.headers["x-kt-served-by"] == "openai/gpt-4o", answer.headers
    for answer, other in [(direct, by_lane), (direct_limited, by_lane_limited)]:
        assert answer.headers["content-type"] == other.headers["content-type"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_of_the_gateway_is_no_word_about_the_clients_key(own, prompt, status):
    key = own.key(org="acme")
    assert_miss(own.a.ask(key, f"{prompt} before"))
    kill(own)
    refused = bounded(lambda: own.a.ask(key, f"{prompt} [[fake: status={status}]]"))
    assert_refused(refused, 502, "upstream_unauthorized")
    assert refused.outcome in LOST and refused.headers["x-should-retry"] == "false", refused.headers
    assert "x-kt-served-by" not in refused.headers
    assert bounded(lambda: own.a.ask(key, f"{prompt} after")).status == 200


def test_where_no_provider_answers_nobody_has_served(own, prompt):
    key = own.key(org="acme")
    assert_miss(own.a.ask(key, f"{prompt} before"))
    kill(own)
    refused = bounded(lambda: own.a.ask(key, f"{prompt} [[fake: reset]]"))
    assert_refused(refused, 502, "upstream_unreachable")
    assert refused.outcome in LOST and refused.headers["retry-after"] == "1", refused.headers
    assert "x-kt-served-by" not in refused.headers


@pytest.mark.parametrize("lose", [kill, freeze])
def test_without_its_sidecar_a_gateway_checks_all_the_same(own, prompt, lose):
    known = own.key(org="acme")
    unknown = own.key(org="acme")
    change = {"policies": {"chain": ["model-allowlist"], "policy": {"model-allowlist": {"models": ["gpt-4o"]}}}}
    own.configure(change)
    with own.a.client() as client:
        assert_miss(own.a.ask(known, prompt, client=client))
        lose(own)
        wait_until(lambda: own.a.ask(known, prompt, client=client).outcome in LOST, "the sidecar is lost", BOUND_S)
        before = own.provider.total()

        def ask(key, body):
            return bounded(lambda: own.a.ask(key, body, client=client))
        assert_refused(ask(None, prompt), 401, "missing_api_key")
        assert_refused(ask(known, {**chat(prompt), "model": "gpt-4o-mini"}), 409, "policy_blocked")
        assert_refused(ask(known, {**chat(prompt), "model": "no-such"}), 404, "model_not_found")
        assert_refused(bounded(lambda: own.a.post(known, b"{", client=client)), 400, "invalid_json")
        # Who is not known cannot be asked about now.
        refused = ask(unknown, prompt)
        assert_refused(refused, 503, "sidecar_unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert own.provider.total() == before


def test_a_gateway_may_refuse_instead(own, prompt):
    key = own.key(org="acme")
    own.configure({"gateway": {"on_sidecar_loss": "unavailable"}})
    with own.a.client() as client:
        assert_miss(own.a.ask(key, prompt, client=client))
        kill(own)
        wait_until(lambda: own.a.ask(key, prompt, client=client).status == 503, "the sidecar is lost", BOUND_S)
        before = own.provider.total()
        refused = bounded(lambda: own.a.ask(key, f"{prompt} again", client=client))
        assert_refused(refused, 503, "sidecar_unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert own.provider.total() == before
    # Whoever can ask another gateway is told to, as long as that lasts.
    wait_until(lambda: own.a.health().status_code == 503, "it asks to be left out", BOUND_S)
    assert own.a.health().json()["status"] == "unavailable"
    own.sidecar.restart()
    wait_until(lambda: own.a.health().json()["status"] == "ok", "it is there for all again", BOUND_S)


def test_a_sidecar_that_comes_back_is_used_again_without_a_restart(own, prompt):
    key = own.key(org="acme")
    envoys = [envoy for gateway in own.gateways for envoy in gateway.envoys()]
    assert_miss(own.a.ask(key, prompt))
    kill(own)
    wait_until(lambda: own.a.ask(key, prompt).outcome in LOST, "the sidecar is lost", BOUND_S)
    own.sidecar.restart()
    wait_recovered(own)
    # The keys are on disk, the entries were in memory.
    paid = assert_miss(own.a.ask(key, prompt))
    assert_hit(own.b.ask(key, prompt), of=paid)
    assert len(envoys) == 2 and all(envoy.is_running() for envoy in envoys)


def test_a_sidecar_that_thaws_is_used_again(own, prompt):
    key = own.key(org="acme")
    paid = assert_miss(own.a.ask(key, prompt))
    freeze(own)
    wait_until(lambda: own.a.ask(key, prompt).outcome in LOST, "the sidecar is lost", BOUND_S)
    own.sidecar.process.thaw()
    wait_recovered(own)
    assert_hit(own.b.ask(key, prompt), of=paid)


@pytest.mark.parametrize("lose", [kill, freeze])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_an_answer_under_way_breaks_and_never_looks_whole(own, prompt, lose, stream):
    key = own.key(org="acme")
    body = chat(f"{prompt} [[fake: hold=body]]", stream=stream)
    with concurrent.futures.ThreadPoolExecutor() as pool, own.a.client() as client:
        asked = pool.submit(own.a.ask, key, body, client=client)
        own.provider.wait_held()
        lose(own)
        begin = time.monotonic()
        try:
            answer = asked.result()
        except httpx.TransportError as error:
            assert not isinstance(error, httpx.TimeoutException), error
        else:
            # A stream has begun and breaks off; of an object nothing was shown, so there is room for an error.
            assert answer.broke is not None or (answer.status >= 500 and answer.error), answer
            assert answer.broke is not None or not stream, answer
        assert time.monotonic() - begin < BOUND_S


@pytest.mark.fault(1)
def test_whatever_is_under_way_when_the_sidecar_dies_ends_one_way_or_the_other(own, prompt):
    key = own.key(org="acme")
    answers, stop = [], threading.Event()

    def keep_asking(gateway, stream):
        number = 0
        with gateway.client() as client:
            while not stop.is_set():
                number += 1
                asked = f"{prompt} {gateway.id} {stream} {number // 2}"
                answers.append(gateway.ask(key, asked, client=client, stream=stream))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = [pool.submit(keep_asking, gateway, stream) for gateway in own.gateways for stream in (False, True)]
        try:
            wait_until(lambda: len(answers) > 100, "requests run")
            kill(own)
            # Until the breakers are open: coming back must not have to wait for a probe.
            wait_until(lambda: sum(answer.detail == "breaker-open" for answer in answers) > 100,
                       "requests go on without the sidecar")
            own.sidecar.restart()
            wait_until(lambda: answers[-1].cache_status == "miss", "requests go through the sidecar again")
        finally:
            stop.set()
        for done in running:
            done.result()
    failed = 0
    for answer in answers:
        if answer.status == 200 and answer.broke is None:
            last = answer.events()[-1] if answer.headers["content-type"].startswith("text/event-stream") else None
            assert last == "[DONE]" or answer.json()["choices"], answer
        else:
            failed += 1
            assert answer.broke is not None or (answer.status in (502, 503) and answer.error), answer
    # Only what was on the lane at that moment: all others went on, also while the sidecar came back.
    assert failed <= 4 * len(own.gateways), (failed, answer)


@pytest.mark.fault(52)
def test_a_sidecar_that_is_asked_to_end_finishes_what_it_has(own, prompt):
    key = own.key(org="acme")
    body = chat(f"{prompt} [[fake: hold=body]]", stream=True)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(own.a.ask, key, body)
        own.provider.wait_held()
        ended = pool.submit(own.sidecar.process.terminate)
        wait_until(lambda: own.sidecar.status()["status"] == "draining", "the sidecar drains")
        meanwhile = own.b.ask(key, f"{prompt} meanwhile")
        own.provider.release()
        answer = asked.result()
        assert ended.result() == 0
    assert answer.status == 200 and answer.broke is None and answer.events()[-1] == "[DONE]", answer
    if meanwhile.status == 200:
        assert meanwhile.cache_status == "bypass", meanwhile
    else:
        assert int(meanwhile.headers["retry-after"]) > 0 and meanwhile.error["code"] == "draining", meanwhile


def test_keys_outlive_the_sidecar_and_only_their_hashes_are_kept(own, prompt):
    key = own.key(org="acme")
    assert_miss(own.a.ask(key, prompt))
    kill(own)
    own.sidecar.restart()
    listed = own.sidecar.admin().get("/v1/keys").json()["keys"]
    assert key.key_id in [entry["principal"]["key_id"] for entry in listed]
    assert key.secret not in str(listed)
    database = b"".join(path.read_bytes() for path in (own.sidecar.folder / "data").iterdir())
    assert key.secret.encode() not in database
