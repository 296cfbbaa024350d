"""How far spending can go: exactly as far as the money or the budget reaches, whoever asks how much at once, where."""

import datetime
import json

import pytest

from answers import assert_cut_off, assert_miss, assert_refused
from group import chat
from processes import wait_until
from wallet import Paying

CALLS, COVERED = 64, 10
# What one call sets aside, to the micro-dollar, at prices of one micro-dollar a token.
HOLD = 1_000
PRICES = {"input_usd_per_million": 1, "output_usd_per_million": 1}
DAY_S = 24 * 60 * 60
# What the sidecar allows for around the words of a prompt.
FRAME_TOKENS = 64
PACK = {"pack": {"name": "limited"}}


@pytest.fixture(scope="module")
def own():
    with Paying({**PACK, "pricing": {"models": {"openai": {"gpt-4o": PRICES}}}}) as group:
        yield group


@pytest.fixture
def limited(own):
    yield own
    own.provider.release()
    own.configure({})


def usd(micro_usd):
    return f"{micro_usd / 1_000_000:.6f}"


def question(prompt, number, gate):
    """A chat request for which exactly `HOLD` is set aside: its bytes and what frames them, and the longest answer."""
    def sized(max_tokens):
        return json.dumps(chat(f"{prompt} {number:02} [[fake: gate={gate}]]", max_tokens=max_tokens)).encode()
    return sized(HOLD - FRAME_TOKENS - len(sized(HOLD // 2)))


def seconds_to_midnight():
    now = datetime.datetime.now(datetime.UTC)
    midnight = datetime.datetime.combine(now.date() + datetime.timedelta(days=1), datetime.time(), datetime.UTC)
    return (midnight - now).total_seconds()


LIMIT = usd(COVERED * HOLD)


@pytest.mark.parametrize("config, micro_usd", [
    ({}, COVERED * HOLD),
    ({"budgets": {"organization": {"daily_limit_usd": LIMIT}}}, 1_000_000),
    ({"budgets": {"teams": {"web": {"daily_limit_usd": LIMIT}}}}, 1_000_000),
    ({"budgets": {"users": {"default_daily_usd": LIMIT}}}, 1_000_000),
    ({"policies": {"chain": ["spend-limit"], "policy": {"spend-limit": {"max_daily_usd": LIMIT}}}}, 1_000_000),
], ids=["wallet", "organization", "team", "user", "pack"])
@pytest.mark.fault(53)
def test_of_many_different_questions_at_once_exactly_as_many_are_asked_as_are_covered(limited, crowd, prompt, config,
                                                                                     micro_usd):
    limited.configure(config)
    wallet = limited.wallet(micro_usd)
    key, gate = wallet.key(team="web", user="ada"), prompt[8:16]
    before = limited.provider.total()
    lives = [
        crowd.one(limited.gateways[number % 2], key, question(prompt, number, gate)) for number in range(CALLS)
    ]

    def made():
        return limited.provider.total() - before
    wait_until(lambda: made() + sum(live.ended for live in lives) == CALLS, "all are decided")
    assert made() == COVERED
    assert wallet.pending == COVERED * HOLD
    for refused in [live.whole() for live in lives if live.ended]:
        if config:
            assert_refused(refused, 429, "budget_exceeded")
            # At midnight, whether that comes before this line or after it.
            off = int(refused.headers["retry-after"]) - seconds_to_midnight()
            assert abs((off + DAY_S / 2) % DAY_S - DAY_S / 2) <= 60, refused
        else:
            assert_refused(refused, 402, "insufficient_quota")
            assert "retry-after" not in refused.headers
        assert refused.headers["x-should-retry"] == "false", refused
    limited.provider.release(gate)
    served = [live.whole() for live in lives if live.whole().status == 200]
    assert len([assert_miss(answer) for answer in served]) == COVERED
    assert made() == COVERED
    assert wallet.rows() == {"pending": COVERED, "post": COVERED}
    # What was not needed is there again: the next one is asked.
    assert_miss(limited.b.post(key, question(prompt, CALLS, gate)))


@pytest.mark.parametrize("limits", [
    lambda micro: {"budgets": {"organization": {"daily_limit_usd": usd(micro)}}},
    lambda micro: {"policies": {"chain": ["spend-limit"], "policy": {"spend-limit": {"max_daily_usd": usd(micro)}}}},
], ids=["budget", "pack"])
def test_a_limit_that_is_changed_live_is_in_force(limited, prompt, limits):
    wallet = limited.wallet(1_000_000)
    key = wallet.key()

    def ask(number):
        return limited.gateways[number % 2].post(key, question(prompt, number, gate="open"))
    limited.provider.release("open")
    limited.configure(limits(10 * HOLD))
    assert_miss(ask(0))
    # What has been spent counts: no whole hold is left.
    limited.configure(limits(HOLD))
    assert_refused(ask(1), 429, "budget_exceeded")
    limited.configure(limits(2 * HOLD))
    assert_miss(ask(1))
    limited.configure({})
    assert_miss(ask(2))
    assert wallet.rows() == {"pending": 3, "post": 3}


def test_a_teams_budget_is_no_business_of_another_team(limited, prompt):
    limited.configure({"budgets": {"teams": {"web": {"daily_limit_usd": usd(HOLD)}}}})
    wallet = limited.wallet(1_000_000)
    web, other = wallet.key(team="web"), wallet.key(team="other")
    limited.provider.release("open")
    assert_miss(limited.a.post(web, question(prompt, 0, gate="open")))
    refused = limited.b.post(web, question(prompt, 1, gate="open"))
    assert "team 'web'" in assert_refused(refused, 429, "budget_exceeded")["message"]
    assert_miss(limited.b.post(other, question(prompt, 1, gate="open")))


@pytest.mark.parametrize("on_outgrown_hold", ["overage", "cut"])
def test_a_stream_that_outgrows_the_wallet_ends_there_or_is_paid_as_configured(limited, prompt, on_outgrown_hold):
    fields = {"on_outgrown_hold": on_outgrown_hold, "default_max_output_tokens": 100}
    limited.configure({"wallet": fields})
    wallet = limited.wallet(500)
    limited.provider.script("words=1500, delta_ms=1", 1, prompt=prompt)
    answer = limited.a.ask(wallet.key(), prompt, stream=True)
    wait_until(lambda: wallet.pending == 0, "the hold has ended")
    if on_outgrown_hold == "cut":
        assert_cut_off(answer)
        assert json.loads(answer.events()[-1])["error"]["code"] == "insufficient_quota"
        assert wallet.rows()["post"] == 1 and "overage" not in wallet.rows()
        assert 0 <= wallet.available < 400, "what has come is paid, and the rest is there"
    else:
        assert_miss(answer)
        assert wallet.rows()["overage"] == 1
        assert wallet.available < -1_000
