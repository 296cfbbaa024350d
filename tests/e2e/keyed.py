"""Clients whose requests have an `Idempotency-Key`, who ask again until they are told, whatever is killed meanwhile.
And what the contract, docs/reference/idempotency.md, allows each of their tries."""

import threading
from collections import Counter, deque
from typing import NamedTuple

from answers import Answer
from load import Client
from processes import wait_until

# How often a new request is sent at two gateways at once, and how often what was told is asked for once more.
IMPATIENT, AGAIN = 0.1, 0.15
# Of so many keys, the last that were told: all that they were told has room in what is kept for an organization.
ASKED_AGAIN = 300
# What a try may come to.
TOLD, REPLAYED, FOUND = "told", "replayed", "replayed to who was cut"
CUT, LEFT, BROKE = "cut by the kill", "left", "broke off by itself"
IN_FLIGHT, AWAY, LATER = "refused, in flight", "refused, no sidecar", "refused, to come again"
# No call is made for these; for those one may be made, of which nobody was told the end.
WITHOUT_CALL, UNTOLD = (REPLAYED, FOUND, IN_FLIGHT), (CUT, LEFT, BROKE, LATER)


class Try(NamedTuple):
    """A request with a key, when it has ended."""

    answer: Answer
    # Whether there was no sidecar when it was sent, and whether one was killed while it was on its way.
    was_down: bool
    met_kill: bool
    has_left: bool
    # Whether somebody had been told before it was sent.
    was_told: bool


class Keyed:
    """A question and its key: what its client was told, and what each try came to."""

    def __init__(self, name, question):
        self.headers, self.question = {"idempotency-key": name}, question
        self.told, self.fates = None, Counter()
        # The number of the call that made what was told.
        self.call = None

    @property
    def is_closed(self):
        """Whether nobody waits for an answer any more."""
        return self.told is not None or self.fates[BROKE] > 0 and not self.question.ends_well

    def take(self, tried):
        """What a try has come to, by the rule that allows it. `None`: none does."""
        fate = self.fate_of(tried)
        self.fates[fate] += 1
        if fate in (TOLD, FOUND):
            self.told = tried.answer
        return fate

    def fate_of(self, tried):
        answer = tried.answer
        if is_replay(answer):
            return self.fate_of_replay(tried)
        if has_end(answer):
            # One such answer for each key: all others are replays of it.
            return None if self.told else TOLD
        if tried.was_told and answer.status not in (None, 502, 503):
            return None
        if answer.status in (409, 422) and answer.broke is None:
            return IN_FLIGHT if answer.error["code"] == "idempotency_in_flight" else None
        if tried.met_kill:
            return CUT
        if answer.status == 503:
            return AWAY if tried.was_down else LATER
        return LEFT if tried.has_left else BROKE

    def fate_of_replay(self, tried):
        answer, told = tried.answer, self.told
        if not has_end(answer):
            is_part = told is None or told.body.startswith(answer.body)
            return (CUT if tried.met_kill else BROKE) if is_part else None
        if told is None:
            return FOUND
        return REPLAYED if shown(answer) == shown(told) else None

    def find_call(self, calls):
        """Looks the call up, by the answer's id, or else by the request's."""
        if self.call is None and self.told.status == 200:
            self.call = int(self.told.id.removeprefix("chatcmpl-"))
        elif self.call is None and (made := calls.get(self.told.headers["x-request-id"])):
            self.call = made[-1]["call"]
        return self.call


class Keys:
    """All keys of a run. Clients share them: whichever comes next asks again."""

    def __init__(self):
        self.fates, self.faults = Counter(), []
        self._open, self._told, self._without_call = deque(), [], set()
        self._lock = threading.Lock()

    def pick(self, random):
        """A key to ask again with: one whose client waits; else, at times, one that was told."""
        with self._lock:
            if self._open:
                return self._open.popleft()
            return random.choice(self._told[-ASKED_AGAIN:]) if self._told and random.random() < AGAIN else None

    def take(self, keyed, tries):
        """Takes what has come of tries of one key that were sent at once."""
        with self._lock:
            was_told = keyed.told is not None
            # A replay of what another one of them was told comes behind that.
            for tried in sorted(tries, key=lambda tried: is_replay(tried.answer)):
                fate = keyed.take(tried)
                self.fates[fate] += 1
                if fate is None:
                    self.faults.append(f"no rule allows {tried} of {keyed.headers}, told {keyed.told}")
                if fate in WITHOUT_CALL:
                    self._without_call.add(tried.answer.headers["x-request-id"])
            if keyed.told and not was_told:
                self._told.append(keyed)
            elif not keyed.is_closed:
                self._open.append(keyed)

    def finish(self, client):
        """Lets a client ask until everybody has been told, and once more for what was told last."""
        def all_are_told():
            if self._open:
                client.once(self.pick(client.random))
            return not self._open
        wait_until(all_are_told, "everybody who has a key is told")
        for keyed in self._told[-ASKED_AGAIN:]:
            client.once(keyed)

    def faults_of(self, calls, holds):
        """Tries that no rule allows, and keys with more calls than their tries explain."""
        yield from self.faults
        for request_id in self._without_call & (calls.keys() | holds.keys()):
            yield f"a replay or a refusal is paid for: {holds.get(request_id)}, {calls.get(request_id)}"
        for keyed, requests in self.with_calls(calls):
            if later := [call for call in requests if call > keyed.call]:
                yield f"{keyed.headers} was told call {keyed.call}, and {later} were made"
            if len(requests_before(keyed, requests)) > sum(keyed.fates[fate] for fate in UNTOLD):
                yield f"{keyed.headers} was told call {keyed.call}; too many calls, {requests}, for {dict(keyed.fates)}"

    def paid_again(self, calls, holds):
        """How many whole calls were paid for and never told, so that somebody who asked again has paid for another."""
        return sum(hold.state == "post" and not hold.is_estimated
                   for keyed, requests in self.with_calls(calls)
                   for request_id in requests_before(keyed, requests) for hold in holds.get(request_id, []))

    def with_calls(self, calls):
        """Each key that was told what nobody asks without it, and its calls: by number, for which request."""
        requests, bodies = {}, {}
        for request_id, made in calls.items():
            for call in made:
                bodies[call["call"]] = call["body_sha256"]
                requests.setdefault(call["body_sha256"], {})[call["call"]] = request_id
        for keyed in self._told:
            if not keyed.question.is_shared and keyed.find_call(calls):
                yield keyed, requests[bodies[keyed.call]]


def requests_before(keyed, requests):
    """The requests that made a key's calls before the one that was told."""
    return {requests[call] for call in requests if call < keyed.call} - {requests[keyed.call]}


class KeyedClient(Client):
    """Asks with keys."""

    def __init__(self, round, seed, keys):
        super().__init__(round, seed)
        self.keys = keys

    def ask(self):
        if keyed := self.keys.pick(self.random):
            self.once(keyed)
            return
        keyed = Keyed(f"{self.random.getrandbits(128):032x}", self.question())
        is_patient = keyed.question.leaves or self.random.random() >= IMPATIENT
        self.once(keyed, keyed.question.leaves, 1 if is_patient else 2)

    def after(self):
        # Once when there is no sidecar.
        if self.round.is_down.is_set() and (keyed := self.keys.pick(self.random)):
            self.once(keyed)

    def once(self, keyed, leaves=False, count=1):
        """Sends a question with its key, `count` times at once."""
        round, tries = self.round, []
        was_down, was_told = round.is_down.is_set(), keyed.told is not None
        for live in [self.send(keyed.question.body, headers=keyed.headers) for _ in range(count)]:
            answer, has_left = self.read(live, leaves)
            met_kill = round.is_hit.is_set() and not was_down
            tries.append(Try(answer, was_down, met_kill, has_left, was_told))
        self.keys.take(keyed, tries)


def is_replay(answer):
    return answer.headers.get("idempotent-replayed") == "true"


def has_end(answer):
    """Whether its client holds all of what a key remembers. Who has the last event need not see the end of the body."""
    has_last = answer.broke is None or answer.body.endswith(b"data: [DONE]\n\n")
    return answer.status in (200, 400) and has_last


def shown(answer):
    """What a replay has of the first answer."""
    return answer.status, answer.body, answer.headers["content-type"], answer.headers.get("x-kt-served-by")
