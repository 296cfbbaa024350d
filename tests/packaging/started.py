"""Containers of the images side by side, and what they are given: a provider, and a configuration that asks it."""

import itertools
import json
from pathlib import Path

import httpx
import yaml

from group import ADMIT_TIMEOUT_MS
from processes import free_port, wait_until

PROVIDER_KEY = "made-up-credential-of-the-fake-provider"


class Started:
    """Containers side by side, and a provider."""

    def __init__(self, root, folder):
        self.root, self.folder, self.processes = root, folder, []
        self.provider = free_port()
        self._commands = itertools.count()

    def __enter__(self):
        self.start("fake-provider", ["--listen", f"127.0.0.1:{self.provider}", "--api-key", PROVIDER_KEY], {})
        self.wait_for("the provider", self.provider)
        return self

    def __exit__(self, *_):
        # Who reads it is told of it only where a test has failed.
        print("\n".join(process.tail() for process in self.processes))
        for process in reversed(self.processes):
            process.kill()

    def start(self, image, arguments, mounts, env=None, user=None):
        log = self.folder / f"{image}-{len(self.processes)}.log"
        process = self.root(image).run(image, arguments, mounts, log, env, user)
        self.processes.append(process)
        return process

    def wait_for(self, who, port, process=None, restarts=0):
        """Waits until it answers. A process that has ended before is started again, some times, as a kubelet does it: where
        there are stores, one that was late on a busy machine is reason enough not to start."""
        left = iter(range(restarts))

        def answers():
            if process and not process.is_alive() and next(left, None) is not None:
                process.start()
            return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        wait_until(answers, f"{who} answers", 60)

    def execute(self, *command, mounts, env, image="gateway", user=None):
        """What a command in a container says."""
        log = self.folder / f"{Path(command[0]).name}-{next(self._commands)}.log"
        status, said = self.root(image).execute(command, mounts, log, env, user)
        assert status == 0, said
        return said

    def ask(self, port, key, text=None, model="gpt-4o-mini"):
        messages = [{"role": "user", "content": text or "What does the AuthService module do?"}]
        return httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={"model": model, "messages": messages},
                          headers={"authorization": f"Bearer {key}"}, timeout=30)

    def check_miss_and_hit(self, port, key, outcomes=("miss", "hit"), **question):
        answers = [self.ask(port, key, **question) for _ in outcomes]
        assert [(it.status_code, it.headers.get("x-cache-status")) for it in answers] == [(200, it) for it in outcomes], \
            [it.text for it in answers]

    def check_shared(self, one, other, key, **question):
        """That what is asked at one port is served at another. A fill that is late for its budget, as it may be on a busy
        machine, costs another call."""
        def is_shared():
            paid, read = (self.ask(port, key, **question) for port in (one, other))
            return read.headers["x-cache-status"] == "hit" and read.json()["id"] == paid.json()["id"]
        wait_until(is_shared, "one pod serves what another one has paid for")

    def check_block(self, port, key, **question):
        refused = self.ask(port, key, **question)
        assert refused.status_code == 409 and refused.json()["error"]["code"] == "policy_blocked", refused.text

    def calls(self):
        return self._asked()["total"]

    def prompts(self):
        """What the provider was asked."""
        return set(self._asked()["by_prompt"])

    def _asked(self):
        return httpx.get(f"http://127.0.0.1:{self.provider}/calls").json()


def configuration(folder, text, provider, has_key=True):
    """A folder with a configuration, all of whose targets are this provider; with its key, where it has none itself. On a
    busy machine a sidecar that is there is not taken for lost."""
    config = yaml.safe_load(text)
    config.setdefault("gateway", {})["admit_timeout_ms"] = ADMIT_TIMEOUT_MS
    for target in config["providers"]["targets"]:
        target["base_url"] = f"http://127.0.0.1:{provider}"
        if not has_key:
            target["secret_key_ref"] = {"env": "PROVIDER_KEY"}
    folder.mkdir()
    (folder / "policy-config.yaml").write_text(json.dumps(config))
    return folder


def uids(process):
    lines = [line for member in process.family() for line in Path(f"/proc/{member.pid}/status").read_text().splitlines()]
    return {int(line.split()[1]) for line in lines if line.startswith("Uid:")}
