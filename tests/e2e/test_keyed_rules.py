"""What the crash torture would say of a sidecar that breaks the contract of `Idempotency-Key`: each breach is seen."""

import json

import httpx
import pytest

from answers import Answer
from keyed import CUT, IN_FLIGHT, REPLAYED, TOLD, Keyed, Keys, Try
from load import Question

BROKE = ConnectionError("the connection ended before the answer")


def answer(status=200, call=2, request="second", replayed=False, broke=None):
    """An answer to one request, as one call of the provider makes it."""
    headers = httpx.Headers({"content-type": "application/json", "x-request-id": request})
    if replayed:
        headers["idempotent-replayed"] = "true"
    return Answer(status, headers, json.dumps({"id": f"chatcmpl-{call}"}).encode(), broke)


def refusal(status, code):
    refused = answer(status, request="third")
    refused.body = json.dumps({"error": {"message": "no", "type": "t", "param": None, "code": code}}).encode()
    return refused


def tried(answer, met_kill=False, was_told=False):
    return Try(answer, was_down=False, met_kill=met_kill, has_left=False, was_told=was_told)


def again(answer, **how):
    """The same key once more, for which somebody was told."""
    return tried(answer, was_told=True, **how)


def judged(tries, calls):
    """What tries of one key came to, and what is wrong with them beside the provider's calls: by request."""
    keys, keyed = Keys(), Keyed("a key", Question({}, leaves=False, is_shared=False, ends_well=True))
    for one in tries:
        keys.take(keyed, [one])
    made = {request: [{"call": call, "body_sha256": "of the key"}] for request, call in calls.items()}
    return keys.fates, list(keys.faults_of(made, holds={}))


CUT_OFF = tried(answer(None, request="first", broke=BROKE), met_kill=True)
FIRST, REPLAY = tried(answer()), again(answer(request="third", replayed=True))


def test_a_key_whose_first_call_was_cut_is_told_the_second_ones_answer_again():
    fates, faults = judged([CUT_OFF, FIRST, REPLAY], {"first": 1, "second": 2})
    assert (fates, faults) == ({CUT: 1, TOLD: 1, REPLAYED: 1}, [])
    early = refusal(409, "idempotency_in_flight")
    assert judged([tried(early), FIRST], {"second": 2}) == ({IN_FLIGHT: 1, TOLD: 1}, [])


@pytest.mark.parametrize("tries, calls, fault", [
    ([FIRST, tried(answer(call=3, request="third"))], {"second": 2}, "no rule"),
    ([FIRST, again(answer(request="third"))], {"second": 2}, "no rule"),
    ([FIRST, again(answer(call=3, request="third", replayed=True))], {"second": 2}, "no rule"),
    ([FIRST, again(answer(request="third", broke=BROKE), met_kill=True)], {"second": 2}, "no rule"),
    ([FIRST, again(refusal(409, "idempotency_in_flight"))], {"second": 2}, "no rule"),
    ([tried(refusal(422, "idempotency_key_reused"))], {}, "no rule"),
    ([FIRST, REPLAY], {"second": 2, "third": 3}, "paid for"),
    ([FIRST], {"second": 2, "third": 3}, "were made"),
    ([FIRST], {"first": 1, "second": 2}, "too many calls"),
], ids=["told twice", "not a replay", "other bytes", "a call that the kill cut", "in flight after it was told",
        "another request", "a replay that makes a call", "a call behind the answer", "a call that no try explains"])
def test_a_breach_of_the_contract_is_seen(tries, calls, fault):
    _, faults = judged(tries, calls)
    assert faults and fault in faults[0], faults
