"""What a call costs of a model that the list of prices does not have: nothing, for it is not made; or what is configured."""

import pytest

from answers import assert_miss, assert_refused
from group import chat
from wallet import Paying, cost

HOUSE = "house-model-1"
# In dollars for a million tokens, and the same in micro-dollars.
RATES = {"input_usd_per_million": 3.5, "output_usd_per_million": "14.25"}
MICROS = (3_500_000, 14_250_000)
# The provider's tokens of an answer: its words.
ANSWERED = 17


class House(Paying):
    """A group whose provider serves a model that nobody else knows."""

    def targets(self):
        return [{**target, "models": [*target["models"], HOUSE]} if target["id"] == "openai" else target
                for target in super().targets()]


@pytest.fixture(scope="module")
def own():
    with House() as group:
        yield group


@pytest.fixture
def house(own):
    yield own
    own.configure({})


def ask(house, wallet, prompt, stream):
    return house.a.ask(wallet.key(), {**chat(f"{prompt} [[fake: words={ANSWERED}]]", stream=stream), "model": HOUSE})


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("pricing", [{}, {"pricing": {"unknown_model": "refuse"}}], ids=["unsaid", "refuse"])
def test_a_model_without_a_price_is_not_called_and_moves_no_money(house, prompt, pricing, stream):
    house.configure(pricing)
    wallet = house.wallet(1_000_000)
    before = house.provider.total()
    refused = ask(house, wallet, prompt, stream)
    error = assert_refused(refused, 403, "model_not_priced")
    assert HOUSE in error["message"] and error["param"] == "model", error
    assert refused.headers["x-should-retry"] == "false", refused
    assert house.provider.total() == before
    assert wallet.rows() == {}
    assert (wallet.available, wallet.pending) == (1_000_000, 0)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_model_without_a_price_costs_what_is_configured_to_the_micro_dollar(house, prompt, stream):
    house.configure({"pricing": {"unknown_model": RATES}})
    wallet = house.wallet(1_000_000)
    assert_miss(ask(house, wallet, prompt, stream))
    # The provider counts words, those of the directive too.
    charge = cost(len(prompt.split()) + len("[[fake: words=17]]".split()), ANSWERED, MICROS)
    assert wallet.charges() == [(charge, False)]
    assert wallet.rows() == {"pending": 1, "post": 1}
    assert wallet.available == 1_000_000 - charge
    # A model of the list costs what the list says.
    listed = house.wallet(1_000_000)
    assert_miss(house.a.ask(listed.key(), prompt, stream=stream))
    assert listed.charges() == [(cost(len(prompt.split()), 12), False)]
