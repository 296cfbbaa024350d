"""Who pays, and who does not: whoever makes a call, before it is made; nobody for what is there or under way."""

import json

import pytest

from answers import assert_coalesced, assert_hit, assert_miss, assert_refused, until_remembered
from group import chat
from wallet import CLAUDE, cost

VERSION = {"anthropic-version": "2023-06-01"}
MESSAGES = "/v1/messages"


def words(prompt):
    """The provider's tokens of a prompt."""
    return len(prompt.split())


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_whole_answer_has_been_settled_at_what_the_provider_told(paying, prompt, stream):
    wallet = paying.wallet(1_000_000)
    answer = assert_miss(paying.a.ask(wallet.key(), prompt, stream=stream))
    # At once: whoever has the end of an answer could look into the book.
    charge = cost(words(prompt), 12)
    assert wallet.charges() == [(charge, False)], answer
    assert wallet.rows() == {"pending": 1, "post": 1}
    assert (wallet.available, wallet.pending) == (1_000_000 - charge, 0)


def test_hits_of_every_gateway_and_tier_are_free(paying, prompt):
    wallet = paying.wallet(1_000_000)
    key = wallet.key()
    with paying.a.client() as client:
        paid = assert_miss(paying.a.ask(key, prompt, client=client))
        before = wallet.transfers()
        until_remembered(lambda: paying.a.ask(key, prompt, client=client), paid)
    assert assert_hit(paying.b.ask(key, prompt), of=paid).detail == "shared"
    assert_hit(paying.b.ask(key, prompt, stream=True), of=paid)
    assert wallet.transfers() == before


def test_an_empty_wallet_serves_hits_refuses_misses_and_goes_on_when_it_is_funded(paying, prompt):
    wallet = paying.wallet(1_000_000)
    key = wallet.key()
    with paying.a.client() as client:
        paid = assert_miss(paying.a.ask(key, prompt, client=client))
        wallet.drain()
        assert wallet.available == 0
        until_remembered(lambda: paying.a.ask(key, prompt, client=client), paid)
    assert_hit(paying.b.ask(key, prompt), of=paid)
    other = f"{prompt} And then?"
    for gateway in paying.gateways:
        for stream in (False, True):
            refused = gateway.ask(key, other, stream=stream)
            error = assert_refused(refused, 402, "insufficient_quota")
            assert error["type"] == "insufficient_quota" and "wallet" in error["message"]
            assert refused.headers["x-should-retry"] == "false"
            assert "retry-after" not in refused.headers
    assert paying.provider.calls_of(other)["total"] == 0
    assert wallet.rows() == {"pending": 1, "post": 1, "adjust_debit": 1}
    wallet.fund(1_000_000)
    assert_miss(paying.b.ask(key, other))


def test_an_empty_wallet_is_a_billing_error_to_clients_of_anthropic(paying, prompt):
    wallet = paying.wallet()
    body = {**chat(prompt, max_tokens=50), "model": CLAUDE}
    for stream in (False, True):
        data = json.dumps({**body, "stream": stream}).encode()
        refused = paying.b.post(wallet.key(), data, path=MESSAGES, headers=VERSION)
        assert (refused.status, refused.headers["x-should-retry"]) == (402, "false"), refused
        said = refused.json()
        assert (said["type"], said["error"]["type"]) == ("error", "billing_error"), refused
    wallet.fund(1_000_000)
    assert_miss(paying.b.post(wallet.key(), json.dumps(body).encode(), path=MESSAGES, headers=VERSION))
    # 3 and 15 dollars for a million.
    assert wallet.charges() == [(cost(words(prompt), 12, (3_000_000, 15_000_000)), False)]


@pytest.mark.parametrize("is_drained", [False, True])
def test_followers_on_both_gateways_are_free_and_need_no_money(paying, crowd, prompt, is_drained):
    wallet = paying.wallet(1_000_000)
    key, gate = wallet.key(), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}@event:3]]", stream=True)
    leader = crowd.one(paying.a, key, body)
    paying.provider.wait_at(gate)
    if is_drained:
        wallet.drain()
    followers = crowd.ask(paying.gateways, key, body, count=10)
    paying.sidecar.wait_followers(10)
    paying.provider.release(gate)
    paid = assert_miss(leader.whole())
    for follower in followers:
        assert_coalesced(follower.whole(), of=paid)
    rows = wallet.rows()
    assert (rows["pending"], rows["post"]) == (1, 1), rows
    assert paying.provider.calls_of(prompt)["total"] == 1


def test_a_leader_that_leaves_has_paid_for_those_who_follow(paying, crowd, prompt):
    wallet = paying.wallet(1_000_000)
    key, gate = wallet.key(), prompt[8:16]
    body = chat(f"{prompt} [[fake: gate={gate}@event:3]]", stream=True)
    leader = crowd.one(paying.a, key, body)
    paying.provider.wait_at(gate)
    follower = crowd.one(paying.b, key, body)
    paying.sidecar.wait_followers(1)
    leader.leave()
    paying.provider.release(gate)
    assert_coalesced(follower.whole())
    assert wallet.charges() == [(cost(words(prompt + " [[fake: gate=x]]"), 12), False)]
    assert wallet.rows() == {"pending": 1, "post": 1}


def test_a_frozen_wallet_serves_hits_only_until_it_is_unfrozen(paying, prompt):
    wallet = paying.wallet(1_000_000)
    key = wallet.key()
    paid = assert_miss(paying.a.ask(key, prompt))
    wallet.post("/freeze", reason="somebody has to look").raise_for_status()
    assert_hit(paying.b.ask(key, prompt), of=paid)
    assert_refused(paying.b.ask(key, f"{prompt} And then?"), 402, "wallet_frozen")
    wallet.post("/unfreeze").raise_for_status()
    assert_miss(paying.b.ask(key, f"{prompt} And then?"))


def test_what_has_no_price_is_refused_by_name_and_not_called(paying, prompt):
    wallet = paying.wallet(1_000_000)
    for fields, code in [
        ({"service_tier": "priority"}, "priced_apart"), ({"model": "no-such-model"}, "model_not_found"),
    ]:
        answer = paying.a.ask(wallet.key(), chat(prompt) | fields)
        assert answer.status in (403, 404) and answer.error["code"] == code, answer
    assert wallet.rows() == {}
    assert paying.provider.calls_of(prompt)["total"] == 0
