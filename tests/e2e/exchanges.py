"""Recorded exchanges with providers, and what becomes of each of them.

An exchange is a `NAME.json` with path, request, status and response headers, and beside it the body, byte for byte.
Ours, written by us, are in `tests/fixtures/exchanges`; those that were recorded from real providers are not ours to
keep here and are read from `../shared/data/provider-recordings`, or where KT_RECORDINGS says.
"""

import copy
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from processes import ROOT
from sdks import Ask

OWN = ROOT / "tests/fixtures/exchanges"
RECORDED = Path(os.environ.get("KT_RECORDINGS", ROOT.parent / "shared/data/provider-recordings"))

# The last part of the path → the SDKs' resource.
RESOURCES = {
    "chat/completions": "chat.completions",
    "completions": "completions",
    "embeddings": "embeddings",
    "responses": "responses",
    "messages": "messages",
}

# Answers with status 200 that must not be stored, each with the word of `kt_not_stored_total`.
NOT_STORED = {
    "openai-chat-json-ok-06": "finish-reason",  # content_filter
    "openai-chat-sse-length-unasked": "finish-reason",
    "openai-chat-sse-error-in-band": "incomplete",
    "openai-chat-sse-no-done": "incomplete",
    "openai-responses-json-incomplete": "finish-reason",
    "openai-responses-sse-incomplete": "finish-reason",
    "openai-responses-sse-failed": "incomplete",
    "anthropic-messages-json-refusal": "finish-reason",
    "anthropic-messages-json-pause-turn": "finish-reason",
    "anthropic-messages-sse-refusal": "finish-reason",
    "anthropic-messages-sse-error-in-band": "incomplete",
    # Ended by a length that nobody asked for: these services stop at 16 tokens by themselves.
    **{f"openai-completions-json-ok-{n:02}": "finish-reason" for n in (1, 2)},
    **{f"openai-completions-sse-ok-{n:02}": "finish-reason" for n in (1, 2, 3, 4, 5, 6, 7, 9, 10)},
}

# The word that ends the stream is missing: no client may see it end cleanly.
NEVER_ENDED = "openai-chat-sse-no-done"
# The provider's own error event stands in the stream: a client is told it as it came.
ERROR_IN_BAND = ("openai-chat-sse-error-in-band", "anthropic-messages-sse-error-in-band")
# Of these and of a response that ends as failed, a reader who has been told nothing yet waits for another call.
FAULTY = (*ERROR_IN_BAND, "openai-responses-sse-failed")


@dataclass
class Exchange:
    """A request, and what the provider answered to it."""

    name: str
    path: str
    request: dict
    status: int
    headers: dict
    body: bytes

    @classmethod
    def read(cls, file):
        told = json.loads(file.read_text())
        body = (file.parent / told["response"]).read_bytes()
        return cls(file.stem, told["path"], told["request"], told["status"], told["headers"], body)

    @property
    def is_stream(self):
        return bool(self.request.get("stream"))

    @property
    def provider(self):
        if self.path.startswith("/openai/deployments/"):
            return "azure"
        return "anthropic" if self.resource == "messages" else "openai"

    @property
    def model(self):
        """By the path where it has one: Azure's deployments."""
        found = re.match(r"/openai/deployments/([^/]+)/", self.path)
        return found[1] if found else self.request["model"]

    @property
    def resource(self):
        return RESOURCES[re.sub(r"^(/v1|/openai/deployments/[^/]+)/", "", self.path)]

    @property
    def is_stored(self):
        return self.status == 200 and self.name not in NOT_STORED

    @property
    def is_told(self):
        """Whether a client can be told all of it: nothing is missing of what SDKs wait for."""
        return self.name != NEVER_ENDED

    @property
    def is_ours(self):
        """The provider refused our credential and not the client's key: docs/reference/errors.md has our answer."""
        return self.status in (401, 403)

    @property
    def is_helped(self):
        """Whether the SDKs have a stream of it put together: where a length ended the answer, OpenAI's helpers raise.
        Such an answer in both modes is in `test_replay.py`."""
        by_length = self.resource == "chat.completions" and b'"length"' in self.body
        return self.is_stored and self.resource != "embeddings" and not by_length

    @property
    def has_usage(self):
        return re.search(rb'"usage": ?\{', self.body) is not None

    def event_ends(self):
        """How many bytes the first, the first two, … events of the stream have."""
        return [found.end() for found in re.finditer(rb"\r\n\r\n|\n\n", self.body)]

    def asked(self, prompt, *settings, **changes):
        """The exchange's request, made unique by `prompt`, such that the fake provider plays this answer to it."""
        body = {**copy.deepcopy(self.request), "model": self.model, **changes}
        words = f" {prompt} [[fake: {', '.join([f'recording={self.name}', 'delta_ms=0', *settings])}]]"
        at = next(name for name in ("messages", "input", "prompt") if name in body)
        body[at] = with_words(body[at], words)
        return {name: value for name, value in body.items() if value is not None}

    def in_other_mode(self, body):
        """The same question, asked for a stream where it was asked for JSON, and the other way round."""
        other = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
        if not self.is_stream:
            other["stream"] = True
            if self.has_usage_option:
                other["stream_options"] = {"include_usage": True}
        return other

    @property
    def has_usage_option(self):
        """Whether a client of this dialect has to ask for the usage of a stream."""
        return self.resource in ("chat.completions", "completions")

    def ask(self, base_url, key, body, call=None):
        """The call of the provider's SDK that sends `body`."""
        return Ask(self.provider, call or f"{self.resource}.create", base_url, key, body)

    def http_path(self, api_version):
        return f"{self.path}?api-version={api_version}" if self.provider == "azure" else self.path


def with_words(said, words):
    """Adds words to the end of a prompt, in any of the forms that it may have."""
    match said:
        case str():
            return said + words
        case [*before, str() as last]:
            return [*before, last + words]
        case [*before, {"content": content} as last]:
            return [*before, {**last, "content": with_words(content, words)}]
        case [*parts]:
            return [*parts, {"type": "text", "text": words}]
    raise AssertionError(f"no place for words in {said!r}")


def every(condition):
    """Runs a test once for each exchange for which the condition holds."""
    chosen = list(filter(condition, EXCHANGES.values()))
    return pytest.mark.parametrize("exchange", chosen, ids=lambda exchange: exchange.name)


FOLDERS = [folder for folder in (OWN, RECORDED) if folder.is_dir()]
FILES = [file for folder in FOLDERS for file in sorted(folder.glob("*.json")) if not file.name.endswith(".body.json")]
# Ours, and those that were recorded if they are there.
EXCHANGES = {file.stem: Exchange.read(file) for file in FILES}
