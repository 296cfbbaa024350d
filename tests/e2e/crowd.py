"""Many requests at once, each watched byte by byte while it runs. A loop in a thread reads; a test asks and waits.

    lives = crowd.ask(group.gateways, key, body, count=1000)
    lives[0].wait_events(3)
    answers = [live.whole() for live in lives]
"""

import asyncio
import json
import socket
import threading
import time

import httpx
import pytest

from answers import Answer

CHAT = "/v1/chat/completions"
# Far beyond every bound that is tested: whoever waits so long has found a hang.
DEADLINE_S = 60.0


class Crowd:
    """The clients. Ends with all their connections."""

    def __init__(self):
        self._loop, self._lives = asyncio.new_event_loop(), []
        self.changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        async def leave():
            for live in self._lives:
                live.hang_up()
        asyncio.run_coroutine_threadsafe(leave(), self._loop).result(DEADLINE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, gateways, key, body, count=1, reading=True, **how):
        """Asks the same `count` times, by turns at the gateways; returns when every request is sent."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        lives = [Live(self, gateways[number % len(gateways)], key, data, reading, **how) for number in range(count)]

        self._lives += lives

        async def start():
            # In batches: a listening socket's queue is finite.
            for first in range(0, count, 200):
                await asyncio.gather(*(live.start() for live in lives[first:first + 200]))
        asyncio.run_coroutine_threadsafe(start(), self._loop).result(DEADLINE_S)
        return lives

    def one(self, gateway, key, body, **how):
        return self.ask([gateway], key, body, **how)[0]

    def soon(self, call):
        self._loop.call_soon_threadsafe(call)

    def wait(self, condition, what):
        """Waits until something that arrived makes `condition` true."""
        with self.changed:
            if not self.changed.wait_for(condition, DEADLINE_S):
                pytest.fail(f"waited {DEADLINE_S:g} s in vain until {what}")


class Live(asyncio.Protocol):
    """One request and as much of its answer as has come."""

    def __init__(self, crowd, gateway, key, data, reading, path=CHAT, headers=()):
        self.gateway, self.status, self.headers, self.body = gateway, None, None, bytearray()
        self.ended, self.broke, self.began_at, self.ended_at = False, None, None, None
        self._crowd, self._reading, self._transport = crowd, reading, None
        self._unread, self._left, self._chunked = bytearray(), None, False
        fields = {
            "host": "gateway", "content-type": "application/json", "content-length": len(data),
            **({"authorization": f"Bearer {key.secret}"} if key else {}), **dict(headers),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._request = f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data

    async def start(self):
        connection = socket.socket()
        connection.setblocking(False)
        if not self._reading:
            # Small, so that what nobody reads piles up at the gateway and not in this kernel.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", self.gateway.port))
        await loop.create_connection(lambda: self, sock=connection)

    # What asyncio calls.

    def connection_made(self, transport):
        self._transport = transport
        if not self._reading:
            transport.pause_reading()
        transport.write(self._request)

    def data_received(self, data):
        with self._crowd.changed:
            self._unread += data
            self._take()
            self._crowd.changed.notify_all()

    def eof_received(self):
        return False

    def connection_lost(self, error):
        with self._crowd.changed:
            if not self.ended:
                self._end(error or ConnectionError("the connection ended before the answer"))
            self._crowd.changed.notify_all()

    def _end(self, broke=None):
        self.ended, self.broke, self.ended_at = True, broke, time.monotonic()
        if self._transport:
            self._transport.close()

    def _take(self):
        """Takes from what has arrived all that is whole."""
        if self.headers is None and not self._take_head():
            return
        while self._unread and not self.ended:
            if self._left is None and not self._take_size():
                return
            piece = self._unread[:self._left]
            if piece and self.began_at is None:
                self.began_at = time.monotonic()
            self.body += piece
            del self._unread[:len(piece)]
            self._left -= len(piece)
            if self._left == 0:
                if not self._chunked:
                    self._end()
                self._left = None

    def _take_head(self):
        head, found, rest = bytes(self._unread).partition(b"\r\n\r\n")
        if not found:
            return False
        status_line, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status_line.split()[1])
        self.headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines])
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        self._left = None if self._chunked else int(self.headers.get("content-length", 0))
        self._unread[:] = rest
        if self._left == 0:
            self._end()
        return True

    def _take_size(self):
        """The size of the next chunk, with the line break behind the chunk before it."""
        line, found, rest = bytes(self._unread).removeprefix(b"\r\n").partition(b"\r\n")
        if not found:
            return False
        self._left = int(line, 16)
        self._unread[:] = rest
        if self._left == 0:
            self._end()
        return True

    # What a test calls.

    @property
    def events(self):
        """How many whole events have come."""
        return bytes(self.body).replace(b"\r\n", b"\n").count(b"\n\n")

    def wait_events(self, count):
        self._crowd.wait(lambda: self.events >= count or self.ended, f"{count} events have come: {self!r}")
        assert self.events >= count, self

    def wait_head(self):
        self._crowd.wait(lambda: self.status or self.ended, f"the head has come: {self!r}")
        assert self.status, self
        return self

    def whole(self):
        """The answer, when it has ended, well or badly."""
        self._crowd.wait(lambda: self.ended, f"the answer has ended: {self!r}")
        return Answer(self.status, self.headers or httpx.Headers(), bytes(self.body), self.broke)

    def read_on(self):
        """Begins to read, where it did not."""
        self._crowd.soon(self._transport.resume_reading)

    def hang_up(self):
        """Ends the connection, from within the loop."""
        if self._transport:
            self._transport.abort()

    def leave(self):
        """Hangs up."""
        self._crowd.soon(self.hang_up)
        self._crowd.wait(lambda: self.ended, "the client has left")

    def __repr__(self):
        return f"<{self.gateway.id} {self.status} ended={self.ended} broke={self.broke!r} {bytes(self.body[-300:])!r}>"
