"""How soon a fleet shares again when Redis and Postgres are back, both of which were away. No process of kt is restarted."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import time
import urllib.request
from pathlib import Path

from stack import REQUEST, die, until

# Long enough for attempts to come seldom. A caller that is known is believed for longer.
AWAY_S = 20
GIVE_UP_S = 60
# How soon it must be: issue 5.
MUST_S = 5


def below(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += below(int(child))
    return found


def ask(stack, where: str, question: str) -> str:
    """What the answer's Cache-Status says, and nothing where there is no answer."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {stack.key_of(where)}"}
    request = urllib.request.Request(stack.url(where), REQUEST.replace("SEED", question).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            json.load(answer)
            return answer.headers["cache-status"] or "none"
    except (OSError, http.client.HTTPException):
        return ""


def shares(stack, question: str) -> bool:
    """Whether a gateway serves what another one, with another sidecar, has just asked the provider for."""
    return "fwd=" in ask(stack, "kt-0", question) and "hit" in ask(stack, "kt-1", question)


def once(stack, name: str) -> dict:
    """Both stores go, and come back at the same moment."""
    postgres = below(stack.pids["postgres"])
    for pid in postgres:
        os.kill(pid, signal.SIGSTOP)
    try:
        stack.stop("redis")
        end, asked = time.monotonic() + AWAY_S, 0
        answered = 0
        while time.monotonic() < end:
            asked += 1
            answered += bool(ask(stack, "kt-0", f"{name}-away-{asked}"))
        # Redis takes its time to start; Postgres is woken once it listens.
        stack.start_redis()
    finally:
        # Whatever has happened: what is stopped cannot end.
        for pid in postgres:
            os.kill(pid, signal.SIGCONT)
    back, tries = time.monotonic(), itertools.count()
    until("the fleet shares again", lambda: shares(stack, f"{name}-back-{next(tries)}"), GIVE_UP_S)
    return {"away_s": AWAY_S, "asked_while_away": asked, "answered_while_away": answered,
            "seconds": round(time.monotonic() - back, 3)}


def recovery(stack, rounds: int) -> list[dict]:
    """Every round of it."""
    if not shares(stack, "before"):
        die("the fleet does not share before anything is taken from it")
    runs = []
    for number in range(rounds):
        runs.append(once(stack, f"recovery-{number}"))
        print(f"round {number + 1}/{rounds} recovery {runs[-1]}", flush=True)
    return runs
