"""`rate-limit`, through the front door: one limit for all gateways of a group, told as clients expect it."""

import concurrent.futures

import openai
import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import Group, chat
from processes import wait_until

PER_MINUTE = 60
UNAVAILABLE = {"gateway": {"on_sidecar_loss": "unavailable"}}


def limits(**scopes):
    return {"policies": {"chain": ["rate-limit"], "policy": {"rate-limit": scopes}}}


@pytest.fixture(scope="module")
def paced():
    """A group in which a key has so many requests a minute; one comes back every second."""
    with Group({**UNAVAILABLE, **limits(per_key={"requests_per_minute": PER_MINUTE})}) as group:
        yield group


def use_up(group, key, prompt):
    """Uses up a key's requests, alternating between two gateways; the first refusal."""
    answered = []
    for nth in range(4 * PER_MINUTE):
        answer = group.gateways[nth % 2].ask(key, prompt)
        if answer.status == 429:
            return answered, answer
        answered.append(answer)
    raise AssertionError(f"{len(answered)} were answered")


def assert_limited(answer, measure="requests"):
    assert_refused(answer, 429, "rate_limit_exceeded")
    assert answer.error["type"] == measure, answer
    assert "x-should-retry" not in answer.headers, answer
    assert int(answer.headers["retry-after"]) > 0, answer
    assert answer.headers[f"x-ratelimit-limit-{measure}"].isdigit(), answer
    assert answer.headers[f"x-ratelimit-remaining-{measure}"].isdigit(), answer
    assert answer.headers[f"x-ratelimit-reset-{measure}"], answer


def test_two_gateways_share_one_limit_hits_count_and_it_opens_again_by_itself(paced, prompt):
    key, calls = paced.key(), paced.provider.total()
    answered, refused = use_up(paced, key, prompt)
    # Some come back while it takes its time.
    assert PER_MINUTE <= len(answered) < 2 * PER_MINUTE
    assert_miss(answered[0])
    for answer in answered[1:]:
        assert_hit(answer, of=answered[0])
    assert_limited(refused)
    assert refused.headers["x-ratelimit-limit-requests"] == str(PER_MINUTE)
    assert "60 requests per minute for this gateway key" in refused.error["message"]
    assert refused.headers["retry-after"] == "1"
    assert paced.provider.total() == calls + 1
    # Nobody else is harmed, and what is refused costs nothing: the next comes back within its second.
    assert_hit(paced.b.ask(paced.key(), prompt), of=answered[0])
    assert paced.sidecar.metric("kt_rate_limited") >= 1
    wait_until(lambda: paced.b.ask(key, prompt).status == 200, "a request has come back")


def test_an_sdk_that_retries_gets_its_answer(paced, prompt):
    key = paced.key()
    use_up(paced, key, prompt)
    messages = [{"role": "user", "content": prompt}]
    with pytest.raises(openai.RateLimitError) as refused:
        for _ in range(PER_MINUTE):
            paced.a.sdk(key).chat.completions.create(model="gpt-4o", messages=messages)
    assert refused.value.code == "rate_limit_exceeded"
    patient = paced.a.sdk(key).with_options(max_retries=4)
    answer = patient.chat.completions.create(model="gpt-4o", messages=messages)
    assert answer.choices[0].message.content


def test_those_who_follow_count_as_requests_and_make_no_call(paced, prompt):
    key, calls = paced.key(), paced.provider.total()
    count = PER_MINUTE + 20
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(paced.gateways[nth % 2].ask, key, prompt) for nth in range(count)]
        answers = [one.result() for one in asked]
    served = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert PER_MINUTE <= len(served) < count
    for answer in refused:
        assert_limited(answer)
    assert paced.provider.total() == calls + 1


def test_tokens_are_limited_by_what_calls_have_used(prompt):
    limited = limits(per_team={"tokens_per_minute": 600})
    with Group({**UNAVAILABLE, **limited}) as group:
        key, other = group.key(team="web"), group.key(team="data")
        served = []
        for nth in range(200):
            answer = group.gateways[nth % 2].ask(key, f"{nth} {prompt}")
            if answer.status != 200:
                break
            served.append(assert_miss(answer))
        assert_limited(answer, "tokens")
        assert "600 tokens per minute for this team" in answer.error["message"]
        assert group.provider.total() == len(served)
        used = sum(one.json()["usage"]["total_tokens"] for one in served)
        assert used >= 600 // 4, used
        # What is stored costs no provider anything, and another team has its own.
        assert_hit(group.b.ask(key, f"0 {prompt}"), of=served[0])
        assert_miss(group.b.ask(other, f"{nth} other {prompt}"))


def test_other_limits_live_keep_what_is_stored(prompt):
    with Group({**UNAVAILABLE, **limits(per_key={"requests_per_minute": 1000})}) as group:
        key = group.key()
        stored = assert_miss(group.a.ask(key, prompt))
        group.configure(limits(per_key={"requests_per_minute": 1}))
        assert_limited(wait_limited(group, key, prompt))
        group.configure({"policies": None})
        assert_hit(group.b.ask(key, prompt), of=stored)


def wait_limited(group, key, prompt):
    """The first refusal under a limit of one a minute."""
    answers = []

    def is_refused():
        answers.append(group.b.ask(key, prompt))
        return answers[-1].status == 429
    wait_until(is_refused, "the new limit counts")
    return answers[-1]


def test_an_organization_that_floods_to_its_bound_starves_nobody(crowd, prompt):
    bounds = {"max_requests": 20, "max_streams": 12}
    with Group({**UNAVAILABLE, "workflow_cache": {"per_org": bounds}}) as group:
        noisy, quiet, gate = group.key(org="noisy"), group.key(org="quiet"), prompt[8:16]

        def flood(nth):
            question = chat(f"{nth} {prompt} [[fake: gate={gate}]]", stream=nth % 2 == 0)
            return crowd.one(group.gateways[nth % 2], noisy, question)
        lives = [flood(nth) for nth in range(60)]

        def is_decided():
            calls = group.provider.calls()["running"].values()
            return sum(call["gate"] == gate for call in calls) + sum(live.ended for live in lives) == len(lives)
        wait_until(is_decided, "each has come to the provider or is refused", 60)
        held = [live for live in lives if not live.ended]
        shed = [live.whole() for live in lives if live.ended]
        assert len(held) == bounds["max_requests"]
        assert group.sidecar.gauge("kt_organization_requests_most") == bounds["max_requests"]
        for answer in shed:
            assert_refused(answer, 429, "organization_full")
            assert int(answer.headers["retry-after"]) > 0 and "x-should-retry" not in answer.headers
        assert group.sidecar.metric("kt_organization_full") == len(shed)
        for nth in range(30):
            served = assert_miss(group.gateways[nth % 2].ask(quiet, f"{nth} {prompt}"))
            assert_hit(group.gateways[nth % 2].ask(quiet, f"{nth} {prompt}"), of=served)
        group.provider.release(gate)
        for live in held:
            assert_miss(live.whole())
        wait_until(lambda: group.sidecar.gauge("kt_organization_requests_most") == 0, "nothing is under way any more")
        assert_miss(group.a.ask(noisy, f"again {prompt}"))
