"""What a client holds after a request: status, headers, bytes, and whether it all ended properly."""

import json
import re
import time

import httpx

# How a request is answered, by its cache status and why, that has gone past a sidecar which is lost.
LOST = {("bypass", "sidecar-lost"), ("bypass", "breaker-open")}


class Answer:
    """A whole answer, or as much of it as came."""

    def __init__(self, status, headers, body, broke=None):
        self.status, self.headers, self.body, self.broke = status, headers, body, broke

    @classmethod
    def read(cls, live):
        """Reads a live response to its end, good or bad."""
        body, broke = bytearray(), None
        try:
            for piece in live.iter_raw():
                body += piece
        except (httpx.TransportError, httpx.StreamError) as error:
            broke = error
        return cls(live.status_code, live.headers, bytes(body), broke)

    @property
    def cache_status(self):
        return self.headers.get("x-cache-status")

    @property
    def detail(self):
        """The reason in `Cache-Status`."""
        found = re.search(r"detail=([a-z0-9-]+)", self.headers.get("cache-status", ""))
        return found and found[1]

    @property
    def outcome(self):
        return self.cache_status, self.detail

    def json(self):
        return json.loads(self.body)

    def events(self):
        """The `data` of each event of a stream."""
        text = self.body.decode().replace("\r\n", "\n")
        events = [event for event in text.split("\n\n") if event]
        lines = [line for event in events for line in event.split("\n")]
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    def chunks(self):
        return [json.loads(data) for data in self.events() if data != "[DONE]"]

    @property
    def id(self):
        """The provider's id, which tells the call that made the answer."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            return self.chunks()[0]["id"]
        return self.json()["id"]

    @property
    def error(self):
        """The error in OpenAI's shape; fails where there is none, or another shape."""
        assert self.broke is None, self
        assert self.headers["content-type"].startswith("application/json"), self
        body = self.json()
        assert list(body) == ["error"], self
        assert {"message", "type", "param", "code"} <= set(body["error"]), self
        assert isinstance(body["error"]["message"], str) and body["error"]["message"], self
        return body["error"]

    def __repr__(self):
        body = self.body if len(self.body) < 600 else self.body[:300] + b" ... " + self.body[-300:]
        return (f"<{self.status} {self.cache_status} {self.headers.get('cache-status')!r} "
                f"broke={self.broke!r} {body!r}>")


def assert_miss(answer, detail=None):
    """A whole answer from the provider."""
    assert answer.status == 200 and answer.broke is None, answer
    assert answer.cache_status == "miss", answer
    assert detail is None or answer.detail == detail, answer
    return answer


def assert_hit(answer, of=None):
    """A whole answer from the cache; `of` is the answer that paid for it."""
    assert answer.status == 200 and answer.broke is None, answer
    assert answer.cache_status == "hit", answer
    assert answer.detail in ("l1", "shared"), answer
    assert of is None or answer.id == of.id, (answer, of)
    return answer


def until_remembered(ask, of):
    """Hits through one connection, the last of them from its worker's own memory. That is the third one, unless the worker has
    heard nothing of its sidecar for a second, on a busy machine or behind a test that has parted them, and asks it."""
    hits, end = [], time.monotonic() + 30
    while time.monotonic() < end:
        hits.append(assert_hit(ask(), of=of))
        if hits[-1].detail == "l1":
            return hits
    raise AssertionError(f"{len(hits)} hits, and none from memory: {hits[-1]}")


def assert_refused(answer, status, code=None):
    """A refusal in the client's own error shape."""
    assert answer.status == status, answer
    assert code is None or answer.error["code"] == code, answer
    return answer.error


def assert_coalesced(answer, of=None):
    """A whole answer of another request's call; `of` is that request's answer."""
    assert answer.status == 200 and answer.broke is None, answer
    assert answer.outcome == ("coalesced", "in-flight"), answer
    assert "collapsed" in answer.headers["cache-status"], answer
    assert of is None or answer.id == of.id, (answer, of)
    return answer


def assert_cut_off(answer):
    """A stream that told its error and then broke, never a clean end."""
    assert answer.status == 200 and answer.broke is not None, answer
    last = answer.events()[-1]
    assert last != "[DONE]" and "error" in json.loads(last), answer
    return answer
