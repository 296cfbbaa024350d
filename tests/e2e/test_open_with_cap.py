"""`wallet.open_with_cap`: while the sidecar is away, calls pass up to a cap, and are paid when it is back, once."""

import concurrent.futures
import uuid

import pytest

from answers import assert_hit, assert_miss, assert_refused
from processes import wait_until
from wallet import Paying

# Five calls, and not quite a sixth.
CAP = {"max_usd": "0.29", "usd_per_call": "0.05"}
CALLS, PER_CALL = 5, 50_000
CROWD = 48
WORKERS = 2


@pytest.fixture(scope="module")
def open_group():
    """Two gateways, whose Envoys have two workers each."""
    own = Paying({"wallet": {"open_with_cap": CAP}})
    for gateway in own.gateways:
        gateway.process.argv += ["--concurrency", str(WORKERS)]
    with own as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id


@pytest.fixture
def own(open_group):
    """The group with its sidecar running again after the test, and every cap free."""
    yield open_group
    if not open_group.sidecar.process.is_alive():
        open_group.sidecar.restart()
    wait_back(open_group)


def wait_back(group):
    """Until every gateway goes through the sidecar again."""
    key = group.wallet(1_000_000).key()
    for gateway in group.gateways:
        wait_until(lambda: gateway.ask(key, f"Back? {uuid.uuid4()}").cache_status == "miss", f"{gateway.id} is back")


def introduce(gateway, key, prompt):
    """Lets every worker of a gateway know who has the key: each connection goes to any of them."""
    for number in range(16):
        with gateway.client() as client:
            assert gateway.ask(key, prompt if number else f"{prompt} first", client=client).status == 200


def ask_at_once(gateway, key, prompts):
    """One question from each of as many clients, at the same time."""
    def one(prompt):
        with gateway.client() as client:
            return gateway.ask(key, prompt, client=client)
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(prompts)) as pool:
        return list(pool.map(one, prompts))


def passed(answers):
    """Those that went to the provider; each of the others was told to come again."""
    for answer in answers:
        if answer.status == 200:
            assert answer.outcome == ("bypass", "open-with-cap"), answer
            assert answer.headers["x-kt-served-by"] == "openai/gpt-4o", answer
        else:
            assert_refused(answer, 503, "sidecar_unavailable")
            assert int(answer.headers["retry-after"]) >= 1, answer
    return [answer for answer in answers if answer.status == 200]


def open_rows(wallet):
    return [(row["amount_micro_usd"], row["note"]) for row in wallet.transfers() if row["kind"] == "open_calls"]


def paid_open(wallet):
    return sum(amount for amount, _ in open_rows(wallet))


def workers(gateway):
    """How many workers its Envoy has."""
    return gateway.envoy_stats()["server.concurrency"]


def test_as_many_calls_pass_as_the_cap_has_and_are_paid_once_when_the_sidecar_is_back(own, prompt):
    wallet = own.wallet(1_000_000)
    key = wallet.key()
    assert workers(own.a) == WORKERS
    introduce(own.a, key, prompt)
    before, available = own.provider.total(), wallet.available
    own.sidecar.process.kill()
    for round_number in range(2):
        questions = [f"{prompt} {round_number} {number}" for number in range(CROWD)]
        answers = passed(ask_at_once(own.a, key, questions))
        assert len(answers) == (0 if round_number else CALLS), round_number
    assert own.provider.total() == before + CALLS
    # Each Envoy has a cap of its own, and this one does not know the key: nobody passes there.
    assert passed(ask_at_once(own.b, key, [f"{prompt} b"])) == []
    own.sidecar.restart()
    wait_until(lambda: paid_open(wallet) >= CALLS * PER_CALL, "the sidecar has heard of them")
    wait_back(own)
    # All workers of the gateway have told it by then, and some of it was told twice.
    assert paid_open(wallet) == CALLS * PER_CALL, wallet.transfers()
    assert wallet.available == available - CALLS * PER_CALL
    assert all(note.endswith("calls without a sidecar at gw-a") for _, note in open_rows(wallet))
    assert own.sidecar.metric("kt_open_calls") >= CALLS
    assert wallet.audit()["breaches"] == []
    history = own.kt("wallet", "history", "--org", wallet.org).stdout
    assert "open_calls" in history and "calls without a sidecar at gw-a" in history, history


def test_a_cap_is_free_again_when_it_was_booked(own, prompt):
    wallet = own.wallet(1_000_000)
    key = wallet.key()
    for round_number in range(2):
        introduce(own.a, key, f"{prompt} {round_number}")
        own.sidecar.process.kill()
        questions = [f"{prompt} {round_number} {number}" for number in range(CROWD)]
        assert len(passed(ask_at_once(own.a, key, questions))) == CALLS
        own.sidecar.restart()
        wait_until(lambda: paid_open(wallet) == (round_number + 1) * CALLS * PER_CALL, "it is booked")
        wait_back(own)
    assert wallet.audit()["breaches"] == []


def test_hits_of_a_workers_memory_are_served_as_before_and_cost_nothing(own, prompt):
    wallet = own.wallet(1_000_000)
    key = wallet.key()
    with own.a.client() as client:
        paid = assert_miss(own.a.ask(key, prompt, client=client))
        while assert_hit(own.a.ask(key, prompt, client=client), of=paid).detail != "l1":
            pass
        own.sidecar.process.kill()
        # For a second at most; then it is a call like any other.
        while (answer := own.a.ask(key, prompt, client=client)).cache_status == "hit":
            assert assert_hit(answer, of=paid).detail == "l1"
        assert passed([answer]) == [answer]
    own.sidecar.restart()
    wait_until(lambda: open_rows(wallet), "the one call is paid")
    assert paid_open(wallet) == PER_CALL


def test_a_wallet_that_has_less_goes_below_zero_and_then_refuses(own, prompt):
    wallet = own.wallet(1_000_000)
    key = wallet.key()
    introduce(own.a, key, prompt)
    wallet.drain()
    own.sidecar.process.kill()
    assert len(passed(ask_at_once(own.a, key, [f"{prompt} {number}" for number in range(CROWD)]))) == CALLS
    own.sidecar.restart()
    wait_until(lambda: wallet.available == -CALLS * PER_CALL, "it is paid below zero")
    wait_until(lambda: own.a.ask(key, f"{prompt} more {uuid.uuid4()}").status == 402, "nothing more is reserved")
    assert wallet.audit()["breaches"] == []


def test_what_nobody_else_could_answer_for_never_passes(own, prompt):
    wallet = own.wallet(1_000_000)
    key, stranger = wallet.key(), own.wallet(1_000_000).key()
    introduce(own.a, key, prompt)
    own.sidecar.process.kill()
    keyed = own.a.ask(key, f"{prompt} keyed", headers={"idempotency-key": "k"})
    for answer in [keyed, own.a.ask(stranger, f"{prompt} who")]:
        assert_refused(answer, 503, "sidecar_unavailable")


def test_without_the_option_nothing_passes(own, prompt):
    wallet = own.wallet(1_000_000)
    key = wallet.key()
    own.configure({"wallet": {"open_with_cap": None}})
    try:
        introduce(own.a, key, prompt)
        before = own.provider.total()
        own.sidecar.process.kill()
        assert passed(ask_at_once(own.a, key, [f"{prompt} {number}" for number in range(CROWD)])) == []
        assert own.provider.total() == before
    finally:
        if not own.sidecar.process.is_alive():
            own.sidecar.restart()
        own.configure({})
