"""One answer, many readers: the stampede beside bare Envoys that fan out the same bytes, and how far followers are
behind the leader's tokens. The client and the provider are one Rust process (`tests/bench/fanout`), on one clock.
"""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
from pathlib import Path

from stack import ROOT, Stack, die, free_port

GATEWAYS = 4
READERS = 1_000
FOLLOWERS = 100
CLIENT = ROOT / "target/release/fanout"


def measure(rounds: int) -> dict:
    """Interleaved rounds; medians belong to the page."""
    if not CLIENT.exists():
        die("the client is missing: cargo build --release -p kt-bench-fanout")
    raise_open_files()
    memory = []
    raw: dict = {"json": {"bare": [], "kt": []}, "burst": {"bare": [], "kt": []}, "lag": {"kt": []}}
    with tempfile.TemporaryDirectory(prefix="kt-fanout-") as folder:
        provider = free_port()
        with Stack(Path(folder), provider=provider, gateways=GATEWAYS) as stack:
            for number in range(rounds):
                for work in raw:
                    for where in raw[work]:
                        figures = run(stack, work, where, f"{work}-{where}-{number}")
                        raw[work][where].append(figures)
                        print(f"round {number + 1}/{rounds} {work:<6} {where:<5} {figures}", flush=True)
    for number in range(rounds):
        # A sidecar of its own for each round: memory that was used once is not given back.
        with tempfile.TemporaryDirectory(prefix="kt-fanout-") as folder:
            provider = free_port()
            with Stack(Path(folder), provider=provider, gateways=GATEWAYS) as stack:
                memory.append(run(stack, "hold", "kt", f"hold-{number}"))
                print(f"round {number + 1}/{rounds} hold   kt    {memory[-1]}", flush=True)
    return {"gateways": GATEWAYS, "readers": READERS, "followers": FOLLOWERS, "raw": raw, "memory": memory}


def run(stack: Stack, work: str, where: str, seed: str) -> dict:
    """One run; it counts only if kt made one call and the bare Envoys one for each reader. Where gateways have sidecars
    of their own, the leader of `lag` is at the first one and all followers are at the others."""
    readers = FOLLOWERS if work == "lag" else READERS
    ports, sidecars, leader = stack.group_ports(where), stack.metrics_ports(), []
    if work == "lag" and len(sidecars) > 1:
        leader, ports = ["--leader", f"127.0.0.1:{ports[0]}"], ports[1:]
    command = [CLIENT, "--work", work, "--provider", f"127.0.0.1:{stack.ports['provider']}", "--readers", readers,
               "--gateways", ",".join(f"127.0.0.1:{port}" for port in ports), "--seed", seed, *leader]
    if where == "kt":
        command += ["--key", stack.key_of("group"), "--metrics", ",".join(f"127.0.0.1:{port}" for port in sidecars)]
    if work == "hold":
        command += ["--sidecar-pid", stack.pid_of("group-sidecar")]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    if done.returncode:
        die(f"{work} through {where}: {done.stderr.strip()}")
    figures = json.loads(done.stdout)
    if work == "hold":
        return figures
    asked = readers + 1 if work == "lag" else readers
    calls = 1 if where == "kt" else asked
    if figures["provider_calls"] != calls:
        die(f"{work} through {where}: {figures['provider_calls']} provider calls, not {calls}")
    return figures


def raise_open_files() -> None:
    """The client has both ends of a thousand calls."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 4 * READERS:
        die(f"{4 * READERS} open files are needed, {most} are allowed: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * READERS, most))
