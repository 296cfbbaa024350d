"""A gateway group of real processes: a fake provider, a sidecar, and gateways that are real Envoys.

    with Group("shared") as group:
        key = group.key(org="acme")
        answer = group.a.ask(key, "hello")
"""

import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import httpx
from openai import OpenAI

from answers import Answer
from processes import PLAIN, Process, binary_dir, envoy, filter_module, free_port, wait_until

UPSTREAM_KEY = "sk-upstream-credential-of-the-target"
MODELS = ["gpt-4o", "gpt-4o-mini"]
CHAT = "/v1/chat/completions"
# As many gateways as the promise of one call for everybody names.
FOUR = (("gw-a", "primary"), ("gw-b", "fallback"), ("gw-c", "worker"), ("gw-d", "edge"))
# Far beyond every budget: a test that runs into it has found a hang.
DEADLINE_S = 60.0
# Within how long a key that was revoked is refused by every gateway; and what a busy machine may add.
REVOKED_S = 1.0 + 4.0

# As long as it may be: on a busy machine, too, a sidecar that is there is not taken for lost.
ADMIT_TIMEOUT_MS = 1900

CONFIG = {
    "pack": {"name": "e2e", "version": "0.1.0", "enabled": True},
    "gateway": {
        "agent_gateway_group_id": "e2e-group",
        "request_bytes_max": 8 << 20,
        "on_sidecar_loss": "direct",
        "admit_timeout_ms": ADMIT_TIMEOUT_MS,
    },
    "workflow_cache": {
        "enabled": True,
        "default_tier": "org_shared_cache",
        "org_shared_enabled": True,
    },
}


def chat(prompt, **fields):
    """A chat request's body as a value."""
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], **fields}


def unique():
    """A word that nobody has used before: a UUID without digits, of which a detector might make a card, a phone or an
    account, and without vowels, of which it might make a word."""
    return str(uuid.uuid4()).translate(str.maketrans("0123456789abcdef", "bcdfghjkmnpqrtvw"))


def environment():
    """What `kt` finds its parts and the target's credential by."""
    return {"KT_FILTER": str(filter_module()), "KT_ENVOY": str(envoy()), "E2E_UPSTREAM_KEY": UPSTREAM_KEY}


class Provider:
    """The fake provider, and what it saw."""

    def __init__(self, folder, recordings=()):
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._http = httpx.Client(base_url=self.base_url, timeout=DEADLINE_S, verify=PLAIN)
        self.process = Process("fake-provider", [
            binary_dir() / "fake-provider", "--listen", f"127.0.0.1:{self.port}",
            "--delta-ms", "2", "--api-key", UPSTREAM_KEY,
            *(part for recorded in recordings for part in ("--recordings", recorded)),
        ], folder / "fake-provider.log")

    def is_ready(self):
        return self._http.get("/health").status_code == 200

    def calls(self):
        return self._http.get("/calls").json()

    def total(self):
        return self.calls()["total"]

    def requests(self, after=0):
        """The last requests, behind a call."""
        return self._http.get("/requests", params={"after": after}).json()

    def request_of(self, body):
        """The one request that arrived with exactly this body."""
        digest = hashlib.sha256(body).hexdigest()
        found = [request for request in self.requests() if request["body_sha256"] == digest]
        assert len(found) == 1, f"{len(found)} requests with this body, among {len(self.requests())}"
        return found[0]

    def calls_of(self, prompt):
        """The calls with this prompt, counted without its directives: `total`, `open`, `by_outcome`."""
        return self.calls()["by_prompt"].get(prompt, {"total": 0, "open": 0, "by_outcome": {}})

    def running(self, prompt):
        """How far the open calls with this prompt are."""
        return [call for call in self.calls()["running"].values() if call["prompt"] == prompt]

    def script(self, fake, calls, prompt=None):
        """The next `calls` calls, or those with `prompt` in theirs, get what the directive `fake` says."""
        only = {"prompt": prompt} if prompt else {}
        self._http.post("/script", json={"next": calls, "fake": fake, **only}).raise_for_status()

    def release(self, gate=None, count=None):
        """Opens a gate, or lets `count` pass it; without its name, lets go everything that is held."""
        query = {name: value for name, value in {"name": gate, "count": count}.items() if value is not None}
        self._http.post("/release", params=query).raise_for_status()

    def wait_at(self, gate, count=1):
        """Waits until `count` calls wait at this gate."""
        def waiting():
            return sum(call["gate"] == gate for call in self.calls()["running"].values())
        wait_until(lambda: waiting() >= count, f"{count} calls wait at the gate {gate}")

    def wait_held(self, count=1):
        wait_until(lambda: self.calls()["held"] >= count, f"{count} calls are held at the provider")

    def wait_idle(self):
        wait_until(lambda: self.calls()["open"] == 0, "no call is open at the provider")


class Sidecar:
    """The group's cache, and its admin API."""

    def __init__(self, folder, config_path):
        self.folder, self.socket, self.port = folder, folder / "s.sock", free_port()
        self._argv = [
            binary_dir() / "sidecar-cache", "--policy-config", config_path, "--socket", self.socket,
            "--data-dir", folder / "data", "--listen", f"127.0.0.1:{self.port}",
        ]
        self.process = Process("sidecar-cache", self._argv, folder / "sidecar-cache.log")

    def restart(self, env=None):
        """Starts it again after its end."""
        self.process.start(env)
        wait_until(self.is_ready, "the restarted sidecar is ready")

    def is_ready(self):
        return self.health().status_code == 200

    def health(self):
        return httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5, verify=PLAIN)

    def metrics(self):
        return httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=DEADLINE_S, verify=PLAIN).text

    def admin(self):
        transport = httpx.HTTPTransport(uds=f"{self.socket}.admin", verify=PLAIN)
        return httpx.Client(transport=transport, base_url="http://sidecar", timeout=10)

    def status(self):
        with self.admin() as admin:
            return admin.get("/v1/status").raise_for_status().json()

    def configurations_taken(self):
        """How often it has taken a changed file into use."""
        return self.process.log.read_text().count('"configuration in use"')

    def clients_left(self):
        """How many clients have left before their answer was whole, by the sidecar's own log."""
        return self.process.log.read_text().count('"status":"client_left"')

    def calls_for(self, key):
        """The log lines of the upstream calls that were made in a key's name."""
        lines = (json.loads(line) for line in self.process.log.read_text().splitlines() if '"upstream call"' in line)
        return [line for line in lines if line["key_id"] == key.key_id]

    def metric(self, name):
        """The sum of a counter over all its labels; one with labels is absent until it has counted."""
        samples = [line for line in self.metrics().splitlines() if re.match(rf"{name}_total[{{ ]", line)]
        return sum(float(line.rpartition(" ")[2]) for line in samples)

    def gauge(self, name):
        """A gauge's value."""
        found = re.search(rf"^{name} (\S+)$", self.metrics(), re.MULTILINE)
        assert found, f"no metric {name}"
        return float(found[1])

    def wait_followers(self, count):
        wait_until(lambda: self.gauge("kt_flight_followers") == count, f"{count} requests follow a flight", DEADLINE_S)

    def create_key(self, **fields):
        def asked():
            with self.admin() as admin:
                reply = admin.post("/v1/keys", json=fields)
            # A store that is late on a busy machine: it may be made, and nobody has its secret.
            return reply.status_code != 503 and reply
        reply = wait_until(asked, "the sidecar makes a key")
        assert reply.status_code in (200, 201), reply.text
        return Key(**reply.json())

    def revoke(self, key):
        with self.admin() as admin:
            admin.post(f"/v1/keys/{key.key_id}/revoke").raise_for_status()

    def explain(self, key, gateway_id, body, codebase=None, group="e2e-group"):
        """A request's gates and key, and what a lookup says; for operators."""
        gateway = {"id": gateway_id, "role": "primary", "group": group, "egress": "/unused.sock"}
        request = {
            "key_id": key.key_id, "gateway": gateway, "path": CHAT, "codebase": codebase,
            "body": json.dumps(body),
        }
        with self.admin() as admin:
            reply = admin.post("/v1/explain", json=request)
        assert reply.status_code == 200, reply.text
        return reply.json()


class Key:
    """A gateway key: its public name, and the secret that a client sends."""

    def __init__(self, key_id, key, **_):
        self.key_id, self.secret = key_id, key


class Gateway:
    """One `kt gateway run` with its Envoy."""

    def __init__(self, gateway_id, role, folder, config_path, sidecar):
        self.id, self.port = gateway_id, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.run_dir = folder / gateway_id
        self._http = httpx.Client(base_url=self.url, timeout=DEADLINE_S, verify=PLAIN)
        self.process = Process(gateway_id, [
            binary_dir() / "kt", "gateway", "run", "--listen", f"127.0.0.1:{self.port}",
            "--policy-config", config_path, "--sidecar", sidecar, "--id", gateway_id, "--role", role,
            "--run-dir", self.run_dir,
        ], folder / f"{gateway_id}.log", env=environment())

    def is_ready(self):
        # kt's own word too: an Envoy that ends before kt has seen it ready is a failed start and not a crash.
        return self._times_ready() > 0 and self.health().status_code == 200

    def _times_ready(self):
        return len(re.findall(r"^ready ", self.process.log.read_text(), re.MULTILINE))

    def restart(self):
        """Starts it again after its end, and waits until it is ready by its own word: not that of its last life."""
        before = self._times_ready()
        self.process.start()
        wait_until(lambda: self._times_ready() > before and self.is_ready(), f"{self.id} is ready again")

    def health(self):
        return self._http.get("/health")

    def snapshots(self):
        """The configuration's version as some workers have it: each new connection goes to any of them."""
        with httpx.Client(base_url=self.url, timeout=10, headers={"connection": "close"}, verify=PLAIN) as client:
            return [client.get("/health").json()["snapshot"] for _ in range(8)]

    def post(self, key, content, path=CHAT, headers=None, client=None):
        """Posts bytes as they are; the whole answer, however it ended."""
        headers = {
            **({"authorization": f"Bearer {key.secret}"} if key else {}),
            "content-type": "application/json", **(headers or {}),
        }
        with (client or self._http).stream("POST", path, content=content, headers=headers) as live:
            return Answer.read(live)

    def ask(self, key, prompt_or_body, headers=None, client=None, **fields):
        """Asks a chat question, as a prompt with more fields or as a whole body."""
        body = prompt_or_body if isinstance(prompt_or_body, dict) else chat(prompt_or_body, **fields)
        return self.post(key, json.dumps(body).encode(), headers=headers, client=client)

    def client(self, timeout=DEADLINE_S):
        """A client of its own, whose one connection stays with one worker of Envoy."""
        limits = httpx.Limits(max_connections=1)
        return httpx.Client(base_url=self.url, timeout=timeout, limits=limits, verify=PLAIN)

    def sdk(self, key):
        """The official SDK, without its retries: they would hide what they repair."""
        return OpenAI(api_key=key.secret, base_url=f"{self.url}/v1", max_retries=0, timeout=DEADLINE_S)

    def request(self, method, path, **how):
        return self._http.request(method, path, **how)

    def envoy_stats(self):
        """Envoy's counters, from its admin socket."""
        sockets = sorted(self.run_dir.glob("*admin*.sock"))
        assert sockets, f"no admin socket of Envoy in {self.run_dir}"
        transport = httpx.HTTPTransport(uds=str(sockets[0]), verify=PLAIN)
        with httpx.Client(transport=transport, base_url="http://envoy", timeout=10) as admin:
            stats = admin.get("/stats", params={"format": "json", "usedonly": ""}).json()["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}

    def sent(self, request_id):
        """Whether a call for this request has gone out through its egress, by the access log."""
        lines = self.process.log.read_text().splitlines()
        return any('"log":"egress"' in line and request_id in line for line in lines)

    def vms_lost(self):
        """How often a VM of the filter was lost, by Envoy's own count."""
        def stats_with_the_filters():
            stats = self.envoy_stats()
            return any(name.startswith("wasmcustom.kt_filter_") for name in stats) and stats
        stats = wait_until(stats_with_the_filters, "the filter has counted something")
        return sum(value for name, value in stats.items() if name.startswith("wasm.") and ".vm_reload" in name)

    def envoys(self):
        """The Envoys below this gateway."""
        def is_envoy(member):
            try:
                return b"envoy" in Path(f"/proc/{member.pid}/cmdline").read_bytes().split(b"\0")[0]
            except OSError:
                return False
        return [member for member in self.process.family() if is_envoy(member)]


class Group:
    """A whole group. Starts on entry; on exit nothing of it runs any more."""

    running = []

    def __init__(self, config=None, gateways=(("gw-a", "primary"), ("gw-b", "fallback")), recordings=()):
        # Short, because a Unix socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="kt-e2e-"))
        self.config_path = self.folder / "policy-config.yaml"
        self.provider = Provider(self.folder, recordings)
        self.config = merged(CONFIG, {"providers": {"targets": self.targets()}}, config or {})
        self.write_config(self.config)
        self.sidecar = Sidecar(self.folder, self.config_path)
        self.gateways = [
            Gateway(gateway_id, role, self.folder, self.config_path, self.sidecar.socket)
            for gateway_id, role in gateways
        ]

    @property
    def a(self):
        return self.gateways[0]

    @property
    def b(self):
        return self.gateways[1]

    @property
    def c(self):
        return self.gateways[2]

    @property
    def d(self):
        return self.gateways[3]

    def targets(self):
        return [self.target()]

    def target(self):
        return {
            "id": "openai", "provider": "openai", "base_url": self.provider.base_url,
            "models": MODELS, "secret_key_ref": {"env": "E2E_UPSTREAM_KEY"},
        }

    def processes(self):
        return [self.provider.process, self.sidecar.process, *(gateway.process for gateway in self.gateways)]

    def __enter__(self):
        Group.running.append(self)
        try:
            self.provider.process.start()
            wait_until(self.provider.is_ready, "the fake provider is ready")
            self.start_sidecar()
            for gateway in self.gateways:
                gateway.process.start()
            for gateway in self.gateways:
                wait_until(gateway.is_ready, f"{gateway.id} is ready", DEADLINE_S)
        except BaseException:
            print("\n".join(self.logs()))
            self.__exit__()
            raise
        return self

    def start_sidecar(self):
        self.sidecar.process.start()
        wait_until(self.sidecar.is_ready, "the sidecar is ready")

    def __exit__(self, *_):
        for process in reversed(self.processes()):
            process.kill()
        Group.running.remove(self)
        if not os.environ.get("KT_E2E_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self):
        """The ends of all logs, for the report of a failed test."""
        return [process.tail() for process in self.processes()]

    def key(self, org="acme", **fields):
        return self.sidecar.create_key(org=org, **fields)

    def write_config(self, config):
        # JSON is YAML, and renaming keeps the sidecar from reading half a file.
        written = self.config_path.with_suffix(".new")
        written.write_text(json.dumps(config, indent=1))
        written.rename(self.config_path)

    def configure(self, change):
        """Edits the live configuration and waits until every gateway has it. An empty change restores it."""
        wanted = merged(self.config, change)
        if json.loads(self.config_path.read_text()) == wanted:
            return
        # Not every change is the gateways' business, so their version may stay what it is.
        taken = self.sidecar.configurations_taken()
        self.write_config(wanted)
        wait_until(lambda: self.sidecar.configurations_taken() > taken, "the sidecar has the edited configuration")
        after = self.sidecar.status()["snapshot"]
        for gateway in self.gateways:
            wait_until(lambda: set(gateway.snapshots()) == {after},
                       f"every worker of {gateway.id} has the edited configuration")

    def kt(self, *arguments, stdin=None, check=True, env=None):
        """Runs the CLI against this group's sidecar, with `env` beside what is always in its environment."""
        done = subprocess.run(
            [binary_dir() / "kt", *map(str, arguments)], input=stdin, capture_output=True, text=True,
            timeout=DEADLINE_S, cwd=self.folder,
            env={**os.environ, **environment(), "KT_SIDECAR": str(self.sidecar.socket), **(env or {})},
        )
        assert not check or done.returncode == 0, f"{done.args}: {done.stdout}\n{done.stderr}"
        return done


def merged(*configs):
    """The configurations on top of each other; maps are merged, `None` removes a field."""
    result = {}
    for config in configs:
        for name, value in copy.deepcopy(config).items():
            if value is None:
                result.pop(name, None)
            elif isinstance(value, dict):
                result[name] = merged(result.get(name, {}), value)
            else:
                result[name] = value
    return result
