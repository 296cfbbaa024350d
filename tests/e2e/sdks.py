"""The official SDKs of OpenAI and Anthropic as clients, in Python and in Node, and what they saw.

    seen = python.ask(Ask("openai", "chat.completions.create", gateway.url, key.secret, body))
    seen.value      # the answer in one piece, as plain data
    seen.events     # or the events of a stream
    seen.error      # or what the SDK raised: its class, and the fields that a user reads
    seen.headers    # of the answer, by their lower-case names

Their own retries are off: they would hide what they repair.
"""

import asyncio
import itertools
import json
import os
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path

import anthropic
import openai
import pytest

from processes import ROOT

SDK_DIR = ROOT / ".kt/sdk"
DEADLINE_S = 60.0
AZURE_API_VERSION = "2024-10-21"

# How a helper's stream is asked for what it put together.
FINAL = {
    "chat.completions.stream": "get_final_completion",
    "responses.stream": "get_final_response",
    "messages.stream": "get_final_message",
}


@dataclass
class Ask:
    """A call of an SDK's method with these arguments."""

    sdk: str
    call: str
    base_url: str
    key: str
    body: dict
    headers: dict = field(default_factory=dict)
    api_version: str = AZURE_API_VERSION


@dataclass
class Seen:
    """What a user of the SDK has after the call."""

    status: int | None = None
    headers: dict = field(default_factory=dict)
    value: object = None
    events: list = field(default_factory=list)
    error: dict | None = None

    def note(self, response):
        self.status, self.headers = response.status_code, dict(response.headers)

    @property
    def cache_status(self):
        return self.headers.get("x-cache-status")

    @property
    def answer(self):
        """All but the headers, for comparing."""
        return {"status": self.status, "value": self.value, "events": self.events, "error": self.error}


class PythonSdks:
    """Each call in a thread of its own, with a client of its own."""

    name = "python"

    def __init__(self):
        self._threads = ThreadPoolExecutor(max_workers=8)

    def close(self):
        self._threads.shutdown()

    def send(self, ask):
        """Starts a call; the future has what was seen."""
        return self._threads.submit(perform, ask)

    def ask(self, ask):
        return perform(ask)


class AsyncPythonSdks:
    """The asynchronous clients of the Python SDKs, each call with one of its own, in one event loop."""

    name = "python-async"

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def send(self, ask):
        """Starts a call; the future has what was seen."""
        return asyncio.run_coroutine_threadsafe(perform_async(ask), self._loop)

    def ask(self, ask):
        return self.send(ask).result(DEADLINE_S)


def perform(ask):
    seen = Seen()
    with client_of(ask, seen.note) as client:
        call = attrgetter(ask.call)(client)
        try:
            if ask.call in FINAL:
                with call(**ask.body) as stream:
                    seen.value = plain(getattr(stream, FINAL[ask.call])())
            elif ask.body.get("stream"):
                for event in call(**ask.body):
                    seen.events.append(plain(event))
            else:
                seen.value = plain(call(**ask.body))
        except Exception as error:  # noqa: BLE001 (whatever a user would get is what is compared)
            seen.error = failed(error)
    return seen


async def perform_async(ask):
    """As `perform`, with the words that an asynchronous client wants."""
    seen = Seen()

    async def note(response):
        seen.note(response)

    async with client_of(ask, note, "Async") as client:
        call = attrgetter(ask.call)(client)
        try:
            if ask.call in FINAL:
                async with call(**ask.body) as stream:
                    seen.value = plain(await getattr(stream, FINAL[ask.call])())
            elif ask.body.get("stream"):
                async for event in await call(**ask.body):
                    seen.events.append(plain(event))
            else:
                seen.value = plain(await call(**ask.body))
        except Exception as error:  # noqa: BLE001 (as above)
            seen.error = failed(error)
    return seen


def client_of(ask, note, kind=""):
    """A client that tells `note` of each answer's head; of the asynchronous ones where `kind` says so."""
    module = anthropic if ask.sdk == "anthropic" else openai

    def client(name):
        return getattr(module, kind + name)

    common = {
        "api_key": ask.key, "max_retries": 0, "timeout": DEADLINE_S, "default_headers": ask.headers,
        # Nothing here speaks TLS, and loading certificates for each client takes longer than all calls.
        "http_client": getattr(module, f"Default{kind}HttpxClient")(event_hooks={"response": [note]}, verify=False),
    }
    match ask.sdk:
        case "openai":
            return client("OpenAI")(base_url=f"{ask.base_url}/v1", **common)
        case "azure":
            return client("AzureOpenAI")(azure_endpoint=ask.base_url, api_version=ask.api_version, **common)
        case "azure-v1":
            return client("OpenAI")(base_url=f"{ask.base_url}/openai/v1/", **common)
        case "anthropic":
            return client("Anthropic")(base_url=ask.base_url, **common)


def plain(value):
    """Plain data; without the warnings about an embedding that was asked for as text."""
    return value.to_dict(mode="json", warnings=False) if hasattr(value, "to_dict") else value


def failed(error):
    known = ("status_code", "code", "param", "type", "body")
    fields = {name: getattr(error, name, None) for name in known}
    return {"class": type(error).__name__, **fields, "message": str(error)}


class NodeSdks:
    """One Node process, `sdk/driver.mjs`, that makes all calls."""

    name = "node"

    def __init__(self):
        if not (SDK_DIR / "node_modules").is_dir():
            pytest.exit("no SDKs for Node in .kt/sdk: run 'scripts/setup test' first", 2)
        self._ids = itertools.count()
        self._waiting = {}
        self._driver = subprocess.Popen(
            ["node", str(Path(__file__).parent / "sdk/driver.mjs")], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "KT_SDK_DIR": str(SDK_DIR)},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self):
        self._driver.stdin.close()
        self._driver.wait(10)
        self._reader.join(10)

    def send(self, ask):
        """Starts a call; the future has what was seen."""
        number, future = next(self._ids), Future()
        self._waiting[number] = future
        line = {"id": number, "timeout_ms": DEADLINE_S * 1000, **asdict(ask)}
        self._driver.stdin.write(json.dumps(line) + "\n")
        self._driver.stdin.flush()
        return future

    def ask(self, ask):
        return self.send(ask).result(DEADLINE_S)

    def _read(self):
        for line in self._driver.stdout:
            told = json.loads(line)
            self._waiting.pop(told.pop("id")).set_result(Seen(**told))
        for future in self._waiting.values():
            future.set_exception(RuntimeError("the driver for Node has ended"))
