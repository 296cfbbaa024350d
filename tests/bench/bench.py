"""The bench: what kt costs beside a bare Envoy, in one run on one machine, as ratios.

One worker each. The provider is an Envoy that answers a fixed chat completion, so that it is never the
bottleneck; the bare Envoy proxies the same answer. Load comes from wrk. Rounds are interleaved (bare, kt, bare,
kt, …) so that a drifting machine drifts for both. Writes docs/reference/performance.json; `render.py` makes the
page of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fanout
import render
from stack import ANSWER, REQUEST, Stack, die

ROOT = Path(__file__).resolve().parents[2]
PATHS = {
    # name: (port of the stack, wrk script mode)
    "bare": ("bare", "same"),
    "l1_hit": ("kt", "same"),
    "l1_hit_policies": ("kt_policies", "same"),
    "shared_hit": ("kt_no_l1", "same"),
    "miss": ("kt", "unique"),
    "miss_wallet": ("kt_wallet", "unique"),
}


def wrk(url: str, mode: str, connections: int, seconds: int, key: str, questions: int = 1) -> dict:
    """One wrk run; requests per second, p50 and p99 in microseconds, and every status that was not 200."""
    script = Path(__file__).with_name("load.lua")
    env = dict(os.environ, KT_KEY=key, KT_MODE=mode, KT_BODY=REQUEST, KT_QUESTIONS=str(questions))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=seconds + 30)
    found = re.search(r"^KT (\{.*\})$", done.stdout, re.M)
    if not found:
        die(f"wrk said nothing to read:\n{done.stdout}\n{done.stderr}")
    result = json.loads(found.group(1))
    if result["errors"]:
        die(f"{result['errors']} answers were not 200 on {url} ({mode}); the figures would mean nothing")
    return result


def measure(stack: Stack, rounds: int, seconds: int) -> dict:
    """All paths, interleaved; medians over the rounds and every raw figure."""
    raw: dict = {name: {"c32": [], "c1": []} for name in PATHS}
    for round_number in range(rounds):
        for name, (where, mode) in PATHS.items():
            for label, connections in (("c32", 32), ("c1", 1)):
                stack.warm(where)
                calls = stack.provider_calls()
                result = wrk(stack.url(where), mode, connections, seconds, stack.key_of(where))
                result["provider_calls"] = stack.provider_calls() - calls
                check_path(name, mode, result)
                raw[name][label].append(result)
                print(f"round {round_number + 1}/{rounds} {name:<11} c={connections:<3} "
                      f"{result['rps']:>9.0f} req/s  p50 {result['p50_us']:>6.0f} µs", flush=True)
    return raw


def check_path(name: str, mode: str, result: dict) -> None:
    """A figure counts only if the requests took the path that it is a figure of."""
    calls, requests = result["provider_calls"], result["requests"]
    if mode == "same" and name != "bare" and calls:
        die(f"{name}: {calls} provider calls during hits")
    if mode == "unique" and calls < requests:
        die(f"{name}: only {calls} provider calls for {requests} requests")


def summary(raw: dict) -> dict:
    """Ratios of medians; the bare Envoy is 1."""
    median = {
        name: {
            "rps": statistics.median(run["rps"] for run in runs["c32"]),
            "p50_us": statistics.median(run["p50_us"] for run in runs["c1"]),
            "p99_us": statistics.median(run["p99_us"] for run in runs["c32"]),
        }
        for name, runs in raw.items()
    }
    bare = median["bare"]
    for figures in median.values():
        figures["throughput_ratio"] = figures["rps"] / bare["rps"]
        figures["p50_ratio"] = figures["p50_us"] / bare["p50_us"]
        figures["added_p50_ratio"] = (figures["p50_us"] - bare["p50_us"]) / bare["p50_us"]
    return median


def ledger(folder: str, seconds: int) -> list:
    """What the ledger's store does in a second, beside a bare loop on the same disk."""
    command = [ROOT / "target/release/ledger", "--folder", folder, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        die(f"the ledger's bench failed:\n{done.stderr}")
    figures = json.loads(done.stdout)
    if any(run["breaches"] for run in figures):
        die(f"the ledger does not add up after its bench: {figures}")
    return figures


def fuel() -> dict | None:
    """Fuel per request from the wasmtime host; None where its binary was not built."""
    binary = ROOT / "target/release/fuel"
    if not binary.exists():
        return None
    done = subprocess.run([binary], capture_output=True, text=True, cwd=ROOT, timeout=300)
    if done.returncode:
        die(f"the fuel report failed:\n{done.stderr}")
    return json.loads(done.stdout)


def commit() -> str:
    """What is measured, by its commit; with a plus where files differ from it."""
    told = ["git", "describe", "--always", "--abbrev=8", "--exclude=*", "--dirty=+"]
    return subprocess.run(told, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=5)
    arguments.add_argument("--out", type=Path, default=ROOT / "docs/reference/performance.json")
    given = arguments.parse_args()
    if not shutil.which("wrk"):
        die("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="kt-bench-") as folder, Stack(Path(folder)) as stack:
        raw = measure(stack, given.rounds, given.seconds)
    many = fanout.measure(given.rounds)
    # On a disk, not in a folder that may be memory.
    with tempfile.TemporaryDirectory(prefix="bench-ledger-", dir=ROOT / "target") as folder:
        booked = ledger(folder, given.seconds)
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "command": "make bench",
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
        "request_bytes": len(REQUEST),
        "answer_bytes": len(ANSWER),
        "envoy": stack.envoy_version,
        "rounds": given.rounds,
        "seconds": given.seconds,
        "median": summary(raw),
        "fuel": fuel(),
        "fanout": many,
        "ledger": booked,
        "raw": raw,
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    subprocess.run([sys.executable, Path(__file__).with_name("render.py"), given.out], check=True)
    if found := render.slower(report):
        die("the filter does not cost what its baseline says:\n" + "\n".join(found))


if __name__ == "__main__":
    main()
