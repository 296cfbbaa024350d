"""Requests that two readers could read in two ways, as bytes; what a bare Envoy makes of each, and what kt does.

`test_probes.py` sends each to both and compares. `hardening.py` writes them into docs/reference/hardening.md.
"""

import gzip
from dataclasses import dataclass
from typing import Callable

from raw import request

CHAT = b"/v1/chat/completions"
CHUNKED = b"transfer-encoding: chunked"


@dataclass(frozen=True)
class Probe:
    """One request. `build` makes it of the lines that identify it and of a body that would be a good one."""

    what: str
    build: Callable
    # The bare Envoy's status, `None` where the connection ends without an answer; and what its upstream sees.
    bare: int | None
    upstream: str = "nothing"
    # Where kt's verdict is another one: its status and its code, and why.
    kt: int | None = None
    code: str = "gateway_error"
    why: str = ""

    @property
    def verdict(self):
        """kt's status."""
        return self.kt or self.bare

    @property
    def calls(self):
        """How often kt calls the provider."""
        return int(self.verdict == 200)


def lengths(*values):
    return lambda lines, body: request(body, [*lines, *(b"content-length: " + value for value in values)])


def chunks(text, *more):
    """A body in chunks that are written as `text` says, `%b` being a good body."""
    def build(lines, body):
        return request(text.replace(b"%s", b"%x" % len(body)).replace(b"%b", body), [*lines, CHUNKED, *more])
    return build


def encoding(value):
    return lambda lines, body: request(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), [*lines, b"transfer-encoding: " + value])


def line(text):
    return lambda lines, body: request(body, [*lines, text])


def path(text):
    return lambda lines, body: request(body, lines, path=text)


def method(name):
    return lambda lines, body: request(body, lines, method=name)


def version(number, *more):
    def build(lines, body):
        whole = request(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if more else body, [*lines, *more])
        return whole.replace(b" HTTP/1.1\r\n", b" HTTP/" + number + b"\r\n", 1)
    return build


def bare_line_feeds(lines, body):
    head, _, rest = request(body, lines).partition(b"\r\n\r\n")
    return head.replace(b"\r\n", b"\n") + b"\n\n" + rest


def length_and_chunks(lines, body):
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return request(chunked, [*lines, b"content-length: %d" % len(body), CHUNKED])


def compressed(lines, body):
    return request(gzip.compress(body), [*lines, b"content-encoding: gzip"])


def upgrade(lines, body):
    asked = [b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__"]
    return request(body, [*lines, *asked])


def head_only(lines, body):
    """A head that never ends."""
    return request(body, lines).partition(b"\r\n\r\n")[0]


# What kt says of a path that is not one of its own.
UNKNOWN = {"kt": 404, "code": "unknown_path", "why": "not a path of kt's, as its provider would see it"}
HELD = "the body is held until it is whole"

PROBES = [
    Probe("`Content-Length` and `Transfer-Encoding`", length_and_chunks, 400),
    Probe("two different `Content-Length`", lengths(b"20", b"21"), 400),
    Probe("a list as `Content-Length`", lengths(b"20, 20"), 400),
    Probe("`Content-Length: +20`", lengths(b"+20"), 400),
    Probe("a hexadecimal `Content-Length`", lengths(b"0x20"), 400),
    Probe("a negative `Content-Length`", lengths(b"-1"), 400),
    Probe("a `Content-Length` beyond 64 bits", lengths(b"18446744073709551636"), 400),
    Probe("a space before the colon of `Transfer-Encoding`", chunks(b"%s\r\n%b\r\n0\r\n\r\n", b"transfer-encoding : chunked"), 400),
    Probe("a vertical tab before `chunked`", encoding(b"\x0bchunked"), 400),
    Probe("a chunk's size that is no number", chunks(b"%s\r\n%b\r\nzz\r\n\r\n"), 400, "a part", why=HELD),
    Probe("a chunk's size beyond 64 bits", chunks(b"fffffffffffffffff\r\n%b\r\n0\r\n\r\n"), 400, "a part", why=HELD),
    Probe("chunks whose sizes end in a bare LF", chunks(b"%s\n%b\n0\n\n"), 400, "a part", why=HELD),
    Probe("a negative chunk's size", chunks(b"-1\r\n%b\r\n0\r\n\r\n"), 400, "a part", why=HELD),
    Probe("a bare LF in a chunk's extension", chunks(b"%s;a\nb\r\n%b\r\n0\r\n\r\n"), 400, "a part", why=HELD),
    Probe("no `Host`", lambda lines, body: request(body, lines, host=None), 400),
    Probe("a NUL in a value", line(b"x-a: a\x00b"), 400),
    Probe("an underscore in a name", line(b"x_kt_lane: sidecar"), 400),
    Probe("an escaped slash, `..%2f`", path(b"/v1/..%2fv1/chat/completions"), 400),
    Probe("a fragment, `#`", path(CHAT + b"#a"), 400),
    Probe("an escaped NUL, `%00`", path(b"/v1/chat%00/completions"), 400),
    Probe("bytes beyond ASCII in the path", path("/v1/chät/completions".encode()), 400),
    Probe("an unknown `Transfer-Encoding`", encoding(b"br"), 501),
    Probe("`gzip, chunked`", encoding(b"gzip, chunked"), 501),
    Probe("`chunked, identity`", encoding(b"chunked, identity"), 501),
    Probe("HTTP/1.0 with `Transfer-Encoding`", version(b"1.0", CHUNKED), 426),
    Probe("HTTP/1.2", version(b"1.2"), 426),
    Probe("101 fields in the head", lambda lines, body: request(body, [*lines, *[b"x-h%d: 1" % n for n in range(101)]]), 431),
    Probe("a head that does not end", head_only, 408),
    Probe("CONNECT", lambda lines, body: request(b"", lines, method=b"CONNECT", path=b"other:443"), 404, code="unknown_path"),
    Probe("lines that end in a bare LF", bare_line_feeds, 200, "the whole"),
    Probe("two `Host`", line(b"host: other"), 200, "the whole", kt=400, why="readers disagree about which counts"),
    Probe("`Transfer-Encoding`, folded", encoding(b"\r\n chunked"), 200, "the whole"),
    Probe("a CR in a value", line(b"x-a: a\rb"), 200, "the whole", why="taken out by Envoy's parser before anything can read the head; no reader gets it"),
    Probe("61 KB of one field", line(b"x-a: " + b"a" * 61_000), 200, "the whole"),
    Probe("`/../`", path(b"/v1/../admin"), 200, "the whole", **UNKNOWN),
    Probe("`;x.css`", path(CHAT + b";x.css"), 200, "the whole", **UNKNOWN),
    Probe("the absolute form", path(b"http://another.example" + CHAT), 200, "the whole"),
    Probe("TRACE", lambda lines, body: request(b"", lines, method=b"TRACE", path=CHAT), 200, "the whole", kt=405, code="method_not_allowed", why="would echo what is injected on the way"),
    Probe("GET with a body", method(b"GET"), 200, "the whole", kt=405, code="method_not_allowed", why="a body that some readers do not look for"),
    Probe("an upgrade to h2c", upgrade, 200, "the whole"),
    Probe("a body in gzip", compressed, 200, "the whole", kt=415, code="unsupported_media_type", why="what a policy has to see must not hide"),
    Probe("`x-envoy-original-path` from outside", line(b"x-envoy-original-path: /v1/models"), 200, "the whole"),
    Probe("a chunk that breaks off", chunks(b"ffff\r\n%b"), None, "a part", why=HELD),
    Probe("a body shorter than its `Content-Length`", lengths(b"5000"), None, "a part", why=HELD),
    Probe("a second request behind the body", lambda lines, body: request(body, lines) + b"GET /admin HTTP/1.1\r\nhost: a\r\n\r\n", 200, "the whole"),
    Probe("two `Transfer-Encoding: chunked`", chunks(b"%s\r\n%b\r\n0\r\n\r\n", CHUNKED), 501),
    Probe("a name without a value's colon", line(b"x-a"), 400),
]
