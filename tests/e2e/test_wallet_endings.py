"""What a call costs that does not end well: nothing where nothing was spent, and never nothing where something was."""

import base64

import pytest

from answers import assert_cut_off, assert_miss
from group import chat
from processes import wait_until
from wallet import UNREACHABLE, Paying, cost

# Before the head, before the first byte, and behind each of the first events.
POINTS = ["head", "start", *(f"event:{events}" for events in range(1, 19))]
# A question of five tokens of GPT-4o, and seven that OpenAI counts around a single message.
QUESTION, QUESTION_TOKENS = "Which river is this?", 5 + 7
# The fake provider cuts a text after 3, 1, 4, 7, 2, 3, … characters. In this one each piece is one token of GPT-4o.
ANSWER = "The, old bridge a to, sea little I by, big stones a up, mud people I of, ice second a"
# The tokens that have come at each of the points: none with the event that opens the answer, then one with each.
TOLD = [0, 0, *range(18)]
# What a model says to end, once it has said anything.
END_TOKEN = 1
WORDS = 24
# What an answer of so many words can cost at most, whoever counts: a word has a few tokens, a prompt some dozens.
FEW = cost(100, 12 * WORDS)


def wait_ended(wallet, count=1):
    """Waits until all that was set aside has ended, and says what was charged."""
    wait_until(lambda: wallet.rows().get("pending") == count and wallet.pending == 0, "every hold has ended")
    return wallet.charges()


def left_at(paying, crowd, wallet, prompt, point):
    """What is charged when the only client leaves a stream at a point."""
    gate = f"{wallet.org}-{point.replace(':', '-')}"
    paying.provider.script(f"words={WORDS}, gate={gate}@{point}", 1, prompt=prompt)
    return charged_for_leaving(paying, crowd, wallet, prompt, gate, point)


def charged_for_leaving(paying, crowd, wallet, prompt, gate, point):
    """The charge of a stream that waits at a gate behind a point, once its only client has read that far and left."""
    live = crowd.one(paying.a, wallet.key(), chat(prompt, stream=True))
    paying.provider.wait_at(gate)
    events = int(point.removeprefix("event:")) if ":" in point else 0
    live.wait_events(events)
    live.leave()
    charge, = wait_ended(wallet)
    paying.provider.release(gate)
    return charge


def test_a_client_that_leaves_pays_for_its_question_and_for_what_it_was_sent(paying, crowd):
    assert len(TOLD) == len(POINTS) == 20
    said = base64.urlsafe_b64encode(ANSWER.encode()).decode().rstrip("=")
    charges = []
    for point in POINTS:
        # An organization of its own, which has not asked this before.
        wallet = paying.wallet(1_000_000)
        gate = f"{wallet.org}-{point.replace(':', '-')}"
        paying.provider.script(f"says={said}, gate={gate}@{point}", 1, prompt=QUESTION)
        amount, is_estimated = charged_for_leaving(paying, crowd, wallet, QUESTION, gate, point)
        assert is_estimated, point
        assert wallet.rows() == {"pending": 1, "post": 1}, point
        charges.append(amount)
    expected = [cost(QUESTION_TOKENS, tokens + END_TOKEN * bool(tokens)) for tokens in TOLD]
    assert charges == expected
    # Never nothing, and far from all that was set aside for 4,096 tokens.
    assert 0 < min(charges) and max(charges) < cost(0, 4_096) // 10


def test_a_call_that_goes_on_without_its_client_costs_the_whole_answer(crowd):
    said = base64.urlsafe_b64encode(ANSWER.encode()).decode().rstrip("=")
    with Paying({"workflow_cache": {"complete_on_disconnect": "always"}}) as group:
        read = group.wallet(1_000_000)
        group.provider.script(f"says={said}", 1, prompt=QUESTION)
        assert_miss(group.a.ask(read.key(), QUESTION, stream=True))
        whole = wait_ended(read)
        for point in POINTS:
            wallet = group.wallet(1_000_000)
            gate, before = f"{wallet.org}-{point.replace(':', '-')}", group.sidecar.clients_left()
            group.provider.script(f"says={said}, gate={gate}@{point}", 1, prompt=QUESTION)
            live = crowd.one(group.a, wallet.key(), chat(QUESTION, stream=True))
            group.provider.wait_at(gate)
            live.wait_events(int(point.removeprefix("event:")) if ":" in point else 0)
            live.leave()
            wait_until(lambda: group.sidecar.clients_left() == before + 1, "the sidecar knows that it has left")
            group.provider.release(gate)
            assert wait_ended(wallet) == whole, point
    (_, is_estimated), = whole
    assert not is_estimated, "as the provider has told"


def test_leaving_costs_what_a_provider_that_breaks_off_there_costs(paying, crowd, prompt):
    for events in (1, 5, 18):
        left, cut = paying.wallet(1_000_000), paying.wallet(1_000_000)
        charge = left_at(paying, crowd, left, prompt, f"event:{events}")
        paying.provider.script(f"words={WORDS}, cut_after={events}", 1, prompt=prompt)
        assert_cut_off(paying.a.ask(cut.key(), prompt, stream=True))
        assert wait_ended(cut) == [charge], events


@pytest.mark.parametrize("fake", ["status=400", "status=401", "status=404", "status=429", "status=500", "status=529"])
def test_what_the_provider_refuses_costs_nothing(paying, prompt, fake):
    wallet = paying.wallet(1_000_000)
    answer = paying.a.ask(wallet.key(), f"{prompt} [[fake: {fake}]]")
    assert answer.status >= 400, answer
    assert wallet.rows() == {"pending": 1, "void": 1}
    assert (wallet.available, wallet.pending) == (1_000_000, 0)


def test_a_provider_that_is_not_reached_costs_nothing(paying, prompt):
    wallet = paying.wallet(1_000_000)
    answer = paying.a.ask(wallet.key(), chat(prompt) | {"model": UNREACHABLE})
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable"), answer
    assert wallet.rows() == {"pending": 1, "void": 1}
    assert wallet.available == 1_000_000


@pytest.mark.fault(3)
def test_a_call_of_which_nobody_knows_the_end_is_held_and_not_given_back(paying, prompt):
    wallet = paying.wallet(1_000_000)
    answer = paying.a.ask(wallet.key(), f"{prompt} [[fake: reset]]")
    assert answer.status == 502, answer
    assert wallet.rows() == {"pending": 1}
    assert wallet.pending > 0 and wallet.available == 1_000_000 - wallet.pending
    hold = wallet.transfers()[-1]["id"]
    lines = paying.sidecar.process.log.read_text().splitlines()
    assert any(hold in line and "not known" in line for line in lines)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("fake, is_told", [
    ("finish=content_filter", True), ("finish=length", True), ("size=200000", True), ("no_store", True),
    ("error_event", False), ("html", False), ("gzip", False), ("content_type=text/plain", False),
    ("invalid_utf8", None), ("no_done", None), ("truncate_at=60%", False), ("cut_at=50%", False), ("cut_at=0%", False),
    ("end_after=0", None),
])
def test_once_the_provider_has_answered_nothing_that_is_decided_here_gives_the_money_back(paying, prompt, fake, is_told,
                                                                                          stream):
    wallet = paying.wallet(10_000_000)
    paying.a.ask(wallet.key(), f"{prompt} [[fake: {fake}]]", stream=stream)
    (amount, is_estimated), = wait_ended(wallet)
    rows = wallet.rows()
    assert rows["post"] == 1 and not {"void", "expire"} & rows.keys(), rows
    assert amount >= cost(1, 0), amount
    if is_told is not None:
        assert is_estimated is not is_told


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_usage_that_cannot_be_is_not_believed_and_what_came_is_counted(paying, prompt, stream):
    def charge_with(usage):
        # The same text every time, so that the same comes of counting it.
        wallet = paying.wallet(1_000_000)
        paying.provider.script(f"usage={usage}", 1, prompt=prompt)
        assert_miss(paying.a.ask(wallet.key(), prompt, stream=stream))
        charge, = wallet.charges()
        return charge
    counted, is_estimated = charge_with("none")
    assert is_estimated and cost(3, 12) <= counted <= FEW
    for usage in ("negative", "string", "float", "absurd", "beyond", "twice"):
        assert charge_with(usage) == (counted, True), usage
