"""Load on a group that pays: clients that ask for whatever may go well or badly, and somebody who puts money in."""

import random
import threading
from typing import NamedTuple

import httpx

from group import chat

# What is asked, how often, and whether its client leaves before the end. Some is the same for everybody.
MIX = [
    (6, "words=12", False, False),
    (6, "words=40", True, False),
    (4, "words=40", True, True),
    (2, "words=400, delta_ms=0", True, False),
    (1, "words=12, usage=none", False, False),
    (1, "words=20, usage=none", True, False),
    (2, "cut_after=9", True, False),
    (1, "cut_at=50%", False, False),
    (1, "truncate_at=60%", False, False),
    (2, "status=500", False, False),
    (1, "status=400", True, False),
    (1, "reset", False, False),
    (1, "ttfb_ms=300", True, False),
]
SHARED = 4
# Those of which nobody ever gets the end.
BREAKS = ("cut", "truncate", "status=500", "reset")


class Question(NamedTuple):
    """What a client asks."""

    body: dict
    # Whether it leaves before the end.
    leaves: bool
    # Whether others ask the same.
    is_shared: bool
    # Whether the answer comes whole, unless something is killed.
    ends_well: bool


class Client(threading.Thread):
    """Asks until it is told to stop, and writes down what it got."""

    def __init__(self, round, seed):
        super().__init__(daemon=True)
        self.round, self.random = round, random.Random(seed)
        self.whole, self.left, self.failure = [], set(), None

    def run(self):
        try:
            while not self.round.is_over.is_set():
                self.ask()
            self.after()
        except BaseException as error:  # pytest's failures among them
            self.failure = error

    def after(self):
        """What is still to be done when nobody is to ask any more."""

    def ask(self):
        question = self.question()
        self.read(self.send(question.body), question.leaves)

    def question(self):
        _, fake, streams, leaves = self.random.choices(MIX, [weight for weight, *_ in MIX])[0]
        shared = self.random.randrange(3 * SHARED)
        name = f"shared {shared} {fake[:5]}" if shared < SHARED else f"of {self.random.getrandbits(64):x}"
        body = chat(f"round {self.round.number} {name} [[fake: {fake}]]", stream=streams)
        return Question(body, leaves, shared < SHARED, not fake.startswith(BREAKS))

    def send(self, body, **how):
        return self.round.crowd.one(self.random.choice(self.round.group.gateways), self.round.key, body, **how)

    def read(self, live, leaves=False):
        """The answer, or as much of it as its client has waited for, and whether that has left before its end."""
        if leaves:
            events = self.random.randrange(30)
            self.round.crowd.wait(lambda: live.events >= events or live.ended, "enough has come to leave")
            if not live.ended:
                live.leave()
                self.left.add((live.headers or {}).get("x-request-id"))
                return live.whole(), True
        answer = live.whole()
        if answer.status == 200 and answer.broke is None:
            self.whole.append(answer)
        return answer, False


class Funder(threading.Thread):
    """Puts money in, each time until it is acknowledged, however often the sidecar dies in between."""

    def __init__(self, wallet, seed):
        super().__init__(daemon=True)
        self.wallet, self.random = wallet, random.Random(seed)
        self.acknowledged, self.asked, self.is_over = {}, None, threading.Event()
        # Those that were there already when they were acknowledged.
        self.found = set()

    def run(self):
        while not self.is_over.is_set():
            key, amount = f"{self.random.getrandbits(128):032x}", self.random.randrange(1, 1_000_000)
            self.asked = (key, amount)
            while (reply := self.once(key, amount)) is None:
                self.is_over.wait(0.02)
            assert reply["amount_micro_usd"] == amount, reply
            if not reply["created"]:
                self.found.add(key)
            self.acknowledged[key] = amount
            self.asked = None

    def once(self, key, amount):
        """Asks once; `None`: nobody knows whether it was done."""
        try:
            reply = self.wallet.post("/fund", key=key, amount_micro_usd=amount, note=key)
        except httpx.TransportError:
            return None
        return reply.json() if reply.status_code == 200 else None


class Round:
    """What all clients of one round share."""

    def __init__(self, number, group, crowd, key):
        self.number, self.group, self.crowd, self.key = number, group, crowd, key
        self.is_over = threading.Event()
        # Whether the sidecar is about to be killed, and whether it is dead.
        self.is_hit, self.is_down = threading.Event(), threading.Event()
