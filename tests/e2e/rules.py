"""What may have become of a call that a wallet pays: the call as its provider has written it down, beside its hold."""

from collections import Counter

from wallet import cost

# Why a hold may be what it is.
AS_TOLD, TOLD_NOTHING = "settled as told", "told nothing, counted"
CUT_SHORT, LEFT_AT_END = "cut short, counted", "left at the end, counted"
REFUSED, NEVER_SENT = "refused, released", "never sent, released"
NOT_KNOWN, LEFT_BEFORE_CALL = "not known how it ended, and said so", "left before the call came"
WITH_ALLOTMENT = "its sidecar was killed or does not know, and its money is with the allotment"
KILLED_BEFORE_END, KILLED_BEFORE_CALL = "the kill came before its end", "the kill came before the call"
# Every question has more tokens than the first and fewer than the second, and a word of an answer no more than the third.
INPUT_MIN, INPUT_MAX, OF_A_WORD_MAX = 10, 100, 12


def by_request(ledger):
    """The holds of each request, in their order."""
    holds = {}
    for hold in ledger.holds.values():
        if hold.request_id:
            holds.setdefault(hold.request_id, []).append(hold)
    return holds


def told(call):
    """The usage that the provider told, if it is one."""
    usage = call.get("usage")
    return (usage["input"], usage["output"]) if usage else None


def is_counted(hold, call):
    """Whether a hold was settled at what was counted: at least the question, at most what the provider was to say, which it
    tells as a token for each word; where it was to tell nothing, no more than was set aside."""
    usage = call and told(call)
    most = cost(INPUT_MAX, OF_A_WORD_MAX * usage[1]) if usage else hold.held
    return hold.state == "post" and hold.is_estimated and cost(INPUT_MIN, 0) <= hold.actual <= most


def unheld(holds, calls):
    """The requests of which the provider has had more calls than there are holds."""
    return {request_id for request_id, of_provider in calls.items()
            if len(holds.get(request_id, [])) < len(of_provider)}


def outcomes(holds, calls, left, lost, with_allotment=frozenset()):
    """Every call of the provider beside its hold: how often each rule explains what became of them, and those that
    none does."""
    rules, faults = Counter(), []
    for request_id in holds.keys() | calls.keys():
        of_ledger, of_provider = holds.get(request_id, []), calls.get(request_id, [])
        if len(of_ledger) < len(of_provider) and request_id in with_allotment:
            rules[WITH_ALLOTMENT] += 1
            continue
        if len(of_ledger) < len(of_provider):
            faults.append(f"{len(of_provider)} calls, held for: {of_ledger}")
            continue
        # In order; what was set aside last may not have come to a call.
        for at, hold in enumerate(of_ledger):
            call = of_provider[at] if at < len(of_provider) else None
            if rule := rule_of(hold, call, request_id in left, hold.id in lost):
                rules[rule] += 1
            else:
                faults.append(f"no rule allows {hold} for {call and (call['outcome'], told(call))}")
    return rules, faults


def rule_of(hold, call, has_left, is_lost):
    """Why a hold may be what it is, beside the call that it was made for. `None`: it may not."""
    is_waiting = hold.state in ("open", "expire", "return")
    if call is None:
        if hold.state == "void":
            return NEVER_SENT
        # Its bytes may have been on their way.
        return KILLED_BEFORE_CALL if is_waiting else LEFT_BEFORE_CALL if is_counted(hold, call) else None
    outcome, usage = call["outcome"], told(call)
    if is_waiting:
        return NOT_KNOWN if is_lost else KILLED_BEFORE_END
    if outcome.startswith("status_"):
        return REFUSED if hold.state == "void" else None
    if usage and hold.state == "post" and not hold.is_estimated:
        # Where a client leaves with the end in its hands, the provider may see it leave before that.
        is_told = outcome in ("ok", "client_left") and hold.actual == cost(*usage)
        return AS_TOLD if is_told else None
    if outcome == "ok" and not usage:
        return TOLD_NOTHING if is_counted(hold, call) else None
    if outcome in ("cut", "truncated", "client_left"):
        return CUT_SHORT if is_counted(hold, call) else None
    # The provider had sent the end, and nobody was there to read it.
    return LEFT_AT_END if has_left and is_counted(hold, call) else None
