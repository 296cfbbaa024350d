"""Raw requests at a bare Envoy and at a gateway: the same verdict, but where docs/reference/hardening.md says why not."""

import socket
import uuid

import pytest

import raw
from bare import Bare
from group import CHAT
from probes import PROBES
from processes import wait_until

# All that a provider is told of a request, whatever came in.
FORWARDED = {"host", "content-type", "content-length", "user-agent", "authorization", "accept-encoding", "x-request-id"}


@pytest.fixture(scope="module")
def bare():
    with Bare() as bare:
        yield bare


def part_by_part(bare, request, marker, half_close):
    """Sends the head, and what follows when the upstream has it: what Envoy passes on is no matter of luck then."""
    head, end, rest = request.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", bare.port), 20) as connection:
        connection.sendall(head + end)
        wait_until(lambda: bare.upstream.seen(marker), "the upstream has the head")
        connection.sendall(rest)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return raw.read(connection)


def seen_by(bare, marker):
    seen = bare.upstream.seen(marker)
    return "nothing" if seen is None else "the whole" if seen[1] else "a part"


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.what)
def test_a_raw_request_has_a_bare_envoys_verdict_or_a_stricter_one(group, key, bare, probe):
    prompt = uuid.uuid4().hex
    marker = b"x-probe: " + prompt.encode()
    request = probe.build([raw.bearer(key), marker], raw.chat_bytes(prompt))
    half_close = probe.bare is None
    if probe.upstream == "a part":
        theirs = part_by_part(bare, request, marker, half_close)
    else:
        theirs = raw.exchange(bare, request)
    assert (theirs and theirs.status, seen_by(bare, marker)) == (probe.bare, probe.upstream)

    before = group.provider.total()
    ours = raw.exchange(group.a, request, half_close=half_close)
    assert (ours and ours.status) == probe.verdict, ours
    assert ours is None or ours.status == 200 or ours.error["code"] == probe.code, ours
    if ours and 400 <= ours.status < 600:
        assert ours.headers["x-should-retry"] == "false", "it would be the same the next time"
    assert group.provider.total() == before + probe.calls
    if probe.calls:
        seen = group.provider.request_of(raw.chat_bytes(prompt))
        assert seen["path"] == CHAT, seen
        assert {name for name, _ in seen["headers"]} <= FORWARDED, seen
