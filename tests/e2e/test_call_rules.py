"""What the tortures would say of a book that is wrong about a call: each is seen."""

from types import SimpleNamespace

import pytest

from rules import AS_TOLD, CUT_SHORT, KILLED_BEFORE_END, REFUSED, rule_of
from wallet import cost

# A question of thirty tokens, an answer of forty words, and what was set aside for 4,096 tokens.
HELD, WHOLE, INPUT = cost(30, 4_096), cost(30, 40), cost(30, 0)


def hold(state="post", actual=0, is_estimated=True, held=HELD):
    return SimpleNamespace(state=state, actual=actual, is_estimated=is_estimated, held=held)


def call(outcome):
    return {"outcome": outcome, "usage": {"input": 30, "output": 40}}


@pytest.mark.parametrize("of, for_call, rule", [
    (hold(actual=WHOLE, is_estimated=False), call("ok"), AS_TOLD),
    (hold(actual=WHOLE + 1, is_estimated=False), call("ok"), None),
    (hold(actual=INPUT), call("cut"), CUT_SHORT),
    (hold(actual=cost(30, 45)), call("cut"), CUT_SHORT),
    (hold(actual=cost(5, 0)), call("cut"), None),
    (hold(actual=cost(30, 1_000)), call("cut"), None),
    (hold(actual=HELD), call("client_left"), None),
    (hold(actual=HELD + 1), {"outcome": "ok"}, None),
    # JSON that breaks off is counted by its bytes, which may be more than was set aside for a short answer.
    (hold(actual=cost(30, 80), held=cost(30, 60)), call("truncated"), CUT_SHORT),
    (hold("open"), call("ok"), KILLED_BEFORE_END),
    (hold("void"), {"outcome": "status_500"}, REFUSED),
    (hold(actual=INPUT), {"outcome": "status_500"}, None),
    (hold("void"), call("cut"), None),
])
def test_what_is_wrong_about_a_call_is_allowed_by_no_rule(of, for_call, rule):
    assert rule_of(of, for_call, has_left=False, is_lost=False) == rule
