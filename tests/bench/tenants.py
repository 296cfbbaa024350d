"""The bench of hosted mode: thousands of organizations and their keys behind one gateway, through its front door.

Every pack says something else, so that none is shared. Keys are made through the admin API; each asks once, then some of
them again. What one of the filter's workers and a sidecar take alone is told by `kt-bench-tenants`. Writes
docs/reference/performance-tenants.json and the page of it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tenants_page
from stack import BIN, REQUEST, ROOT, Stack, die, free_port, get, provider_config, until

THREADS = 8
# As much as a worker remembers at least: who asked last is known.
AGAIN = 1_000
# Gateways that join when memory has been measured: what is revoked or changed holds at all of them.
MORE = ("kt-1", "kt-2", "kt-3")
CONFIG = """\
pack: {{name: hosted, version: 1.0.0}}
gateway: {{agent_gateway_group_id: bench, on_sidecar_loss: unavailable}}
tenants: {{folder: tenants}}
providers:
  targets:
    - {{id: openai, provider: openai, base_url: "http://127.0.0.1:{provider}"}}
workflow_cache: {{enabled: true, default_tier: org_shared_cache, org_shared_enabled: true}}
"""


def pack(tenant: int, words: str = "Project") -> str:
    return f"""\
providers: {{targets: [{{id: openai, secret_key_ref: {{env: KEY_OF_ALL}}}}]}}
policies:
  chain: [default, content-policy]
  policy:
    content-policy: {{action: block, terms: ['{words} {tenant}', 'Code name {tenant}']}}
"""


class Unix(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Hosted(Stack):
    """One hosted gateway, its sidecar, and a provider that answers at once; more gateways as they are asked for."""

    def __init__(self, folder: Path, tenants: int) -> None:
        super().__init__(folder)
        self.tenants = tenants
        self.ports |= {name: free_port() for name in MORE}

    def _start(self) -> None:
        os.environ["KEY_OF_ALL"] = "made-up-credential-of-all"
        self._envoy("provider", provider_config(self.ports["provider"], self.ports["admin"]))
        home = self.folder / "kt"
        (home / "tenants").mkdir(parents=True)
        for tenant in range(self.tenants):
            (home / "tenants" / f"org-{tenant}.yaml").write_text(pack(tenant))
        self.config, self.socket_path = home / "policy-config.yaml", home / "s.sock"
        self.config.write_text(CONFIG.format(provider=self.ports["provider"]))
        began = time.monotonic()
        self._run("kt-sidecar", BIN / "sidecar-cache", "--policy-config", self.config, "--socket", self.socket_path,
                  "--data-dir", home / "data", "--listen", f"127.0.0.1:{self.ports['bare']}")
        until("the sidecar listens", lambda: get(f"http://127.0.0.1:{self.ports['bare']}/metrics"), 300)
        self.started_s = time.monotonic() - began
        self.join("kt", "--metrics", f"127.0.0.1:{self.ports['kt_no_l1']}")

    def join(self, name: str, *more: object) -> None:
        """One more gateway at the same sidecar."""
        self._run(f"{name}-gateway", BIN / "kt", "gateway", "run", "--listen", f"127.0.0.1:{self.ports[name]}",
                  "--policy-config", self.config, "--sidecar", self.socket_path, "--id", f"gw-{name}",
                  "--run-dir", self.config.parent / f"run-{name}", *more)
        until(f"{name} is ready", lambda: get(f"http://127.0.0.1:{self.ports[name]}/health"), 60)

    def create(self, numbers: range, keys: dict[int, tuple[str, str]]) -> None:
        admin = Unix(Path(f"{self.socket_path}.admin"))
        for number in numbers:
            wanted = {"org": f"org-{number % self.tenants}", "user": f"user-{number}"}
            admin.request("POST", "/v1/keys", json.dumps(wanted), {"content-type": "application/json"})
            reply = admin.getresponse()
            made = json.loads(reply.read())
            if "key" not in made:
                die(f"no key was made: {made}")
            keys[number] = (made["key_id"], made["key"])

    def ask_as(self, keys: list[str], question: str = "SEED", wanted: int = 200) -> None:
        """One request after the other over one connection, each with another key."""
        gateway, body = http.client.HTTPConnection("127.0.0.1", self.ports["kt"], timeout=30), REQUEST.replace("SEED", question)
        for key in keys:
            gateway.request("POST", "/v1/chat/completions", body,
                            {"content-type": "application/json", "authorization": f"Bearer {key}"})
            reply = gateway.getresponse()
            text = reply.read()
            if reply.status != wanted:
                die(f"{reply.status} instead of {wanted}: {text[:300]}")

    def answers_of(self, key: str, body: str) -> list[http.client.HTTPResponse]:
        """What each of the gateways answers."""
        answers = []
        for name in ("kt", *MORE):
            gateway = http.client.HTTPConnection("127.0.0.1", self.ports[name], timeout=30)
            gateway.request("POST", "/v1/chat/completions", body,
                            {"content-type": "application/json", "authorization": f"Bearer {key}"})
            answers.append(gateway.getresponse())
            answers[-1].read()
        return answers

    def all_say(self, status: int, key: str, body: str) -> bool:
        """Whether all of the gateways answer so."""
        return all(answer.status == status for answer in self.answers_of(key, body))

    def warms(self, key: str, body: str) -> None:
        """Asks until every gateway answers from its own memory."""
        until("every gateway has the answer in its memory",
              lambda: all("detail=l1" in answer.getheader("cache-status", "") for answer in self.answers_of(key, body)))

    def callouts(self) -> int:
        """How many times the filter has asked who a key is."""
        page = get(f"http://127.0.0.1:{self.ports['kt_no_l1']}/metrics")
        return sum(int(value) for labels, value in re.findall(r"^\w*kt_filter_callouts_total\w*(.*) (\d+)$", page, re.M)
                   if "principal" in labels)

    def resident_mib(self, name: str) -> float:
        """What a process and its children hold in memory."""
        pids, total = [self.pids[name]], 0
        while pids:
            pid = pids.pop()
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
            total += int(found.group(1)) if found else 0
        return round(total / 1024, 1)


def split(count: int) -> list[range]:
    return [range(at, count, THREADS) for at in range(THREADS)]


def side_by_side(work, parts: list) -> float:
    """Does `work` with every part in a thread of its own; the seconds that it took. What ends one of them ends the bench."""
    began = time.monotonic()
    with ThreadPoolExecutor(len(parts)) as threads:
        for done in [threads.submit(work, part) for part in parts]:
            done.result()
    return round(time.monotonic() - began, 2)


def measure(stack: Hosted, count: int) -> dict:
    keys: dict[int, tuple[str, str]] = {}
    created = side_by_side(lambda numbers: stack.create(numbers, keys), split(count))
    if len(keys) != count:
        die(f"{len(keys)} keys of {count}")
    stack.ask_as([keys[0][1]])
    before = {name: stack.resident_mib(name) for name in ("kt-gateway", "kt-sidecar")}
    callouts = stack.callouts()
    asked = side_by_side(lambda numbers: stack.ask_as([keys[number][1] for number in numbers]), split(count))
    first = stack.callouts() - callouts
    if not first:
        die("no callout was counted for keys that nobody knew")
    last = [keys[number][1] for number in range(count - AGAIN, count)]
    stack.ask_as(last)
    callouts = stack.callouts()
    stack.ask_as(last)
    again = stack.callouts() - callouts
    figures = {
        "sidecar_start_s": round(stack.started_s, 2), "keys_made_s": created, "asked_once_s": asked,
        "callouts_of_first_requests": first, "callouts_of_the_last_again": again,
        "gateway_mib": [before["kt-gateway"], stack.resident_mib("kt-gateway")],
        "sidecar_mib": [before["kt-sidecar"], stack.resident_mib("kt-sidecar")],
    }
    for name in MORE:
        stack.join(name)
    return figures | {
        "gateways": 1 + len(MORE), "revoked_s": revoked(stack, keys, count), "pack_live_s": changed(stack, keys, count)}


def revoked(stack: Hosted, keys: dict, count: int) -> list[float]:
    """How long a revoked key is still served by any gateway, where all of them have the answer in their own memory."""
    admin, seconds = Unix(Path(f"{stack.socket_path}.admin")), []
    for number in range(count - 5, count):
        key_id, key = keys[number]
        stack.warms(key, REQUEST)
        admin.request("POST", f"/v1/keys/{key_id}/revoke")
        admin.getresponse().read()
        seconds.append(waits(lambda: stack.all_say(401, key, REQUEST), f"{key_id} is revoked"))
    return seconds


def changed(stack: Hosted, keys: dict, count: int) -> list[float]:
    """How long a changed pack takes until it decides at every gateway, where all of them have an answer that it blocks."""
    seconds = []
    for number in range(count - 10, count - 5):
        tenant, key = number % stack.tenants, keys[number][1]
        body = REQUEST.replace("SEED", f"What is Secret {tenant}?")
        stack.warms(key, body)
        folder = stack.config.parent / "tenants"
        draft = folder / f".org-{tenant}.draft"
        draft.write_text(pack(tenant, "Secret"))
        draft.rename(folder / f"org-{tenant}.yaml")
        seconds.append(waits(lambda: stack.all_say(409, key, body), f"the pack of org-{tenant} is live"))
    return seconds


def waits(check, what: str) -> float:
    began = time.monotonic()
    until(what, check, 60)
    return round(time.monotonic() - began, 2)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tenants", type=int, default=10_000)
    arguments.add_argument("--keys", type=int, default=100_000)
    arguments.add_argument("--out", type=Path, default=ROOT / "docs/reference/performance-tenants.json")
    given, load_before = arguments.parse_args(), os.getloadavg()[2]
    alone = subprocess.run([BIN / "tenants", "--tenants", str(given.tenants), "--keys", str(given.keys), "--folder", "/dev/shm"],
                           capture_output=True, text=True, timeout=1200)
    if alone.returncode:
        die(f"what a worker and a sidecar take alone could not be measured:\n{alone.stderr}")
    # A commit waits for its disk, and it is not the disk that is measured.
    with tempfile.TemporaryDirectory(prefix="kt-bench-", dir="/dev/shm") as folder, Hosted(Path(folder), given.tenants) as stack:
        together = measure(stack, given.keys)
    report = {
        "date": time.strftime("%Y-%m-%d"), "command": "make bench-tenants",
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "load_before": load_before},
        "envoy": stack.envoy_version, "tenants": given.tenants, "keys": given.keys, "again": AGAIN,
        "alone": json.loads(alone.stdout), "together": together,
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(tenants_page.page(report))


if __name__ == "__main__":
    sys.exit(main())
