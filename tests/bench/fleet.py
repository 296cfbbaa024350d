"""The bench of a fleet: gateways with a sidecar each over one Redis and one Postgres, beside a bare Envoy and beside
LiteLLM's proxy, which caches in the same Redis.

First hits: every path is asked the same questions in turn, as many as no copy survives in the one sidecar that may
keep a single one, so that each of its hits comes through Redis. Rounds are interleaved; the CPU time of all processes
of a side is read before and after each run. Then one answer for many readers at four sidecars, as in `fanout.py`.
Writes docs/reference/performance-fleet.json; `fleet_page.py` makes the page of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import fanout
from bench import wrk
from recovery import recovery
from stack import (ANSWER, BIN, REQUEST, ROOT, Stack, bare_config, die, free_port, get, provider_config, until)

GATEWAYS = fanout.GATEWAYS
QUESTIONS = 200
L1_BYTES = 32 << 20
LITELLM = Path(os.environ.get("KT_LITELLM", ROOT / ".kt/litellm/bin/litellm"))
PYTHON = LITELLM.with_name("python")
# name: the stack's port. What a gateway of `kt` may keep where follows from its number, see `Fleet.may_keep`.
PATHS = {"bare": "bare-0", "kt_l1": "kt-3", "kt_memory": "kt-2", "kt_redis": "kt-1", "litellm": "litellm"}
# Who pays for the questions of all gateways, at a sidecar that none of the measured ones knows but by Redis.
PAYS = "kt-0"
TICKS = os.sysconf("SC_CLK_TCK")


class Fleet(Stack):
    """All processes of one part of the bench."""

    def __init__(self, folder: Path, provider: int | None = None) -> None:
        """With `provider`, somebody else answers on that port, and LiteLLM has no part in it."""
        super().__init__(folder, provider=provider or free_port(), gateways=GATEWAYS)
        self.is_of_hits = provider is None
        more = ("redis", "postgres", "litellm", *(f"metrics-{at}" for at in range(GATEWAYS)))
        self.ports |= {name: free_port() for name in more}
        os.environ["KT_DATABASE_URL"] = f"postgres://kt@127.0.0.1:{self.ports['postgres']}/postgres"

    def metrics_ports(self) -> list[int]:
        return self.group_ports("metrics")

    def key_of(self, where: str) -> str:
        return super().key_of("group" if where.startswith("kt-") else where)

    def _start(self) -> None:
        if self.is_of_hits:
            self._envoy("provider", provider_config(self.ports["provider"], self.ports["admin"]))
        for at, port in enumerate(self.group_ports("bare")[:1 if self.is_of_hits else GATEWAYS]):
            self._envoy(f"bare-{at}", bare_config(port, self.ports["provider"]))
        self.start_redis()
        if self.is_of_hits:
            self._run("litellm", *self._litellm())
        self._run("postgres", "env", f"PGPORT={self.ports['postgres']}", ROOT / "scripts/postgres", "stay")
        # It says where it is once it takes connections.
        until("Postgres is ready", lambda: (self.folder / "postgres.log").read_text().strip())
        self._listens("postgres")
        subprocess.run([BIN / "kt", "db", "migrate"], check=True, stdout=subprocess.DEVNULL)
        for at in range(GATEWAYS):
            l1_bytes, more = self.may_keep(at)
            config, socket_path = self._sidecar(f"kt-{at}", l1_bytes, f"127.0.0.1:{self.ports[f'metrics-{at}']}", more)
            self._join(f"kt-{at}", config, socket_path)
        self._key("group", self.folder / PAYS / "s.sock")
        if self.is_of_hits:
            self._listens("litellm", seconds=240)
            until("LiteLLM is alive", lambda: get(f"http://127.0.0.1:{self.ports['litellm']}/health/liveliness"))

    def start_redis(self) -> None:
        self._run("redis", "redis-server", "--port", self.ports["redis"], "--bind", "127.0.0.1", "--dir", self.folder,
                  "--save", "", "--appendonly", "no")
        self._listens("redis")

    def stop(self, name: str) -> None:
        """Kills a process, and waits for its end."""
        process = self.processes.pop(list(self.pids).index(name))
        del self.pids[name]
        process.kill()
        process.wait()

    def _listens(self, name: str, seconds: float = 30) -> None:
        def connects() -> bool:
            if self.processes[list(self.pids).index(name)].poll() is not None:
                die(f"{name} has ended:\n{(self.folder / f'{name}.log').read_text()[-3000:]}")
            socket.create_connection(("127.0.0.1", self.ports[name]), 1).close()
            return True
        until(f"{name} listens", connects, seconds)

    def may_keep(self, at: int) -> tuple[int, str]:
        """What the gateway with that number keeps before Redis: how many bytes in L1, and how many entries in the
        memory of its sidecar."""
        is_redis = self.is_of_hits and f"kt-{at}" == PATHS["kt_redis"]
        is_l1 = self.is_of_hits and f"kt-{at}" == PATHS["kt_l1"]
        memory = "  memory: {max_entries: 1}\n" if is_redis else ""
        more = (f"  backend: redis\n  redis: {{url: \"redis://127.0.0.1:{self.ports['redis']}\"}}\n{memory}"
                "database: {url: {env: KT_DATABASE_URL}}\n")
        return L1_BYTES if is_l1 else 0, more

    def _litellm(self) -> list[object]:
        """Its proxy as its documentation sets it up for production, with no environment but its own. Its prices are those
        it came with; else it would fetch them. The caller is its master key, which it wants, and which no database is
        asked for."""
        self.keys["litellm"] = f"sk-{secrets.token_hex(32)}"
        config = {
            "general_settings": {"master_key": self.keys["litellm"]},
            "model_list": [{"model_name": "gpt-4o", "litellm_params": {
                "model": "openai/gpt-4o", "api_key": "none",
                "api_base": f"http://127.0.0.1:{self.ports['provider']}/v1"}}],
            "litellm_settings": {"cache": True, "cache_params": {
                "type": "redis", "host": "127.0.0.1", "port": self.ports["redis"], "ttl": 3600}},
        }
        path = self.folder / "litellm.json"
        path.write_text(json.dumps(config))
        return ["env", "-i", f"PATH={LITELLM.parent}:/usr/bin:/bin", f"HOME={self.folder}", "LITELLM_MODE=PRODUCTION",
                "LITELLM_LOG=ERROR", "LITELLM_LOCAL_MODEL_COST_MAP=True", PYTHON, LITELLM, "--config", path,
                "--host", "127.0.0.1", "--port", self.ports["litellm"], "--num_workers", "1", "--telemetry", "False"]

    def ask_all(self, where: str) -> None:
        """Asks every question once."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key_of(where)}"}
        wanted = json.loads(ANSWER)["choices"][0]["message"]["content"]
        for number in range(1, QUESTIONS + 1):
            body = REQUEST.replace("SEED", f"q-{number}").encode()
            with urllib.request.urlopen(urllib.request.Request(self.url(where), body, headers), timeout=30) as answer:
                if json.load(answer)["choices"][0]["message"]["content"] != wanted:
                    die(f"{where} answers something else than the provider")

    def warm(self, where: str) -> None:
        """Asks every question until all of them are hits; what a cache is given may come late."""
        if where.startswith("bare"):
            return
        if where.startswith("kt"):
            self.ask_all(PAYS)
        for asked in range(5):
            calls = self.provider_calls()
            self.ask_all(where)
            # Once more for a gateway's own memory, which takes what a sidecar has answered.
            if asked and self.provider_calls() == calls:
                return
        die(f"{where} calls the provider for questions that it was asked before")

    def copy_hits(self, where: str) -> int:
        """How many lookups the memory of that gateway's sidecar has answered."""
        if not where.startswith("kt"):
            return 0
        page = get(f"http://127.0.0.1:{self.ports[where.replace('kt', 'metrics')]}/metrics")
        return sum(int(float(value)) for value in re.findall(r"^kt_store_copy_hits_total\{.*\} (\S+)$", page, re.M))

    def cpu(self) -> dict[str, float]:
        """The CPU seconds of each part so far: what was started under one name, and everything below it."""
        parents, used = {}, {}
        for entry in Path("/proc").iterdir():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (OSError, NotADirectoryError):
                continue
            if entry.name.isdigit():
                parents[int(entry.name)] = int(fields[1])
                used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
        names = {pid: name for name, pid in self.pids.items()}
        parts: dict[str, float] = {}
        for pid, seconds in used.items():
            while pid not in names and pid in parents:
                pid = parents[pid]
            if pid in names:
                part = part_of(names[pid])
                parts[part] = parts.get(part, 0) + seconds
        return parts


def part_of(name: str) -> str:
    """What a process is counted as."""
    if name.startswith("kt-"):
        return "sidecars" if name.endswith("-sidecar") else "gateways"
    return "bare" if name.startswith("bare") else name


# The parts of each side; of the bare Envoy's, the provider too, which answers each of its requests and no hit.
SIDES = {"bare": ("bare", "provider"), "kt": ("gateways", "sidecars", "redis", "postgres"), "litellm": ("litellm", "redis")}


def spent(stack: Fleet, path: str, before: dict[str, float]) -> dict[str, float]:
    """The CPU seconds of each part of a path's side since `before`."""
    now = stack.cpu()
    return {part: round(now[part] - before[part], 3) for part in SIDES[path.split("_")[0]]}


def settled(stack: Fleet, path: str, before: dict[str, float]) -> dict[str, float]:
    """The same, once the side is done with what wrk has left unanswered."""
    now, end = spent(stack, path, before), time.monotonic() + 10
    while time.monotonic() < end:
        time.sleep(0.25)
        last, now = now, spent(stack, path, before)
        if sum(now.values()) - sum(last.values()) < 0.03:
            break
    return now


def run(stack: Fleet, path: str, connections: int, seconds: int) -> dict:
    """One run, which counts only if its requests took the path that it is a figure of."""
    where = PATHS[path]
    stack.warm(where)
    calls, copies, cpu = stack.provider_calls(), stack.copy_hits(where), stack.cpu()
    result = wrk(stack.url(where), "rotate", connections, seconds, stack.key_of(where), QUESTIONS)
    result["cpu_s"] = settled(stack, path, cpu)
    # At its end wrk leaves a request on every connection, and the servers work on them: no little part of what a slow
    # one has done.
    result["served"] = result["requests"] + connections
    result["provider_calls"] = stack.provider_calls() - calls
    result["copy_hits"] = stack.copy_hits(where) - copies
    if path != "bare" and result["provider_calls"]:
        die(f"{path}: {result['provider_calls']} provider calls during hits")
    share = result["copy_hits"] / result["requests"]
    # L1 asks the sidecar again now and then.
    least, most = {"kt_memory": (0.99, 1.1), "kt_l1": (0, 0.1), "kt_redis": (0, 0.01)}.get(path, (0, 0))
    if not least <= share <= most:
        die(f"{path}: the memory of the sidecar answered {result['copy_hits']} of {result['requests']} requests")
    return result


def hits(stack: Fleet, rounds: int, seconds: int) -> dict:
    """All paths, interleaved, and what the sides use while nobody asks."""
    raw: dict = {path: {"c32": [], "c1": []} for path in PATHS}
    for number in range(rounds):
        for path in PATHS:
            for label, connections in (("c32", 32), ("c1", 1)):
                result = run(stack, path, connections, seconds)
                raw[path][label].append(result)
                each = result["served"] / max(sum(result["cpu_s"].values()), 1 / TICKS)
                print(f"round {number + 1}/{rounds} {path:<10} c={connections:<3} {result['rps']:>8.0f} req/s  "
                      f"{each:>8.0f} per CPU-second  p50 {result['p50_us']:>6.0f} µs", flush=True)
    cpu = stack.cpu()
    time.sleep(seconds)
    return {"paths": raw, "idle_cpu_s": {side: spent(stack, side, cpu) for side in SIDES}}


def readers(rounds: int) -> dict:
    """One answer, many readers, whose gateways have sidecars of their own."""
    raw: dict = {"json": {"bare": [], "kt": []}, "burst": {"bare": [], "kt": []}, "lag": {"kt": []}}
    with tempfile.TemporaryDirectory(prefix="kt-fleet-") as folder, Fleet(Path(folder), free_port()) as stack:
        for number in range(rounds):
            for work, sides in raw.items():
                for where, runs in sides.items():
                    runs.append(fanout.run(stack, work, where, f"{work}-{where}-{number}"))
                    print(f"round {number + 1}/{rounds} {work:<6} {where:<5} {runs[-1]}", flush=True)
    return {"gateways": GATEWAYS, "readers": fanout.READERS, "followers": fanout.FOLLOWERS, "raw": raw}


def theirs(expression: str) -> str:
    """What LiteLLM's Python says."""
    command = [PYTHON, "-c", f"import importlib.metadata, sys; print({expression})"]
    return subprocess.check_output(command, text=True).strip()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=4)
    arguments.add_argument("--out", type=Path, default=ROOT / "docs/reference/performance-fleet.json")
    given = arguments.parse_args()
    for program in ("wrk", "redis-server", LITELLM, fanout.CLIENT):
        if not shutil.which(program):
            die(f"{program} is missing: make bench-fleet, which builds and installs what it needs")
    fanout.raise_open_files()
    with tempfile.TemporaryDirectory(prefix="kt-fleet-") as folder, Fleet(Path(folder)) as stack:
        measured = hits(stack, given.rounds, given.seconds)
        back = recovery(stack, given.rounds)
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "command": "make bench-fleet",
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "load_before": os.getloadavg()[2]},
        "request_bytes": len(REQUEST),
        "answer_bytes": len(ANSWER),
        "questions": QUESTIONS,
        "envoy": stack.envoy_version,
        "litellm": theirs("importlib.metadata.version('litellm')"),
        "litellm_python": theirs("sys.version.split()[0] + ' of the distribution' * (sys.base_prefix == '/usr')"),
        "redis": subprocess.check_output(["redis-server", "--version"], text=True).split("v=")[1].split()[0],
        "rounds": given.rounds,
        "seconds": given.seconds,
        "hits": measured,
        "recovery": back,
        "readers": readers(given.rounds),
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    subprocess.run([sys.executable, Path(__file__).with_name("fleet_page.py"), given.out], check=True)


if __name__ == "__main__":
    main()
