"""HTTP/2 as no library would speak it: frames by hand, in any order, on a connection that may be ended at any moment.

    with Frames(gateway) as frames:
        stream = frames.ask(key, b'{"model":…}')
        frames.send(RstStreamFrame(stream, error_code=CANCEL))
"""

import socket
import time

from hpack import Encoder
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from group import CHAT

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CANCEL = 8
FRAME_BYTES_MAX = 16_384
# Far beyond what is waited for: a test that runs into it has found a hang.
DEADLINE_S = 30


class Ended(Exception):
    """The gateway has ended the connection."""


class Frames:
    """A connection in the clear, begun with our settings."""

    def __init__(self, gateway, settings=None):
        self._socket = socket.create_connection(("127.0.0.1", gateway.port), DEADLINE_S)
        self._encoder, self._next, self._unread = Encoder(), 1, b""
        self.goaway, self.resets = None, {}
        self.write(PREFACE + SettingsFrame(0, settings=settings or {}).serialize())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def write(self, data):
        """Sends bytes; `Ended` where nobody takes them any more, or has not for long."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Ended from error

    def send(self, *frames):
        self.write(b"".join(frame.serialize() for frame in frames))

    def stream(self):
        """The number of a new stream."""
        number, self._next = self._next, self._next + 2
        return number

    def block(self, key, more=()):
        """A chat request's head, compressed."""
        return self._encoder.encode([
            (":method", "POST"), (":scheme", "http"), (":authority", "gateway"), (":path", CHAT),
            ("authorization", f"Bearer {key.secret}"), ("content-type", "application/json"), *more,
        ])

    def head(self, key, end=False, more=()):
        """A head on a stream of its own, as frames."""
        stream = self.stream()
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        return stream, HeadersFrame(stream, self.block(key, more), flags=flags)

    def ask(self, key, body):
        """A whole request; the number of its stream, and its frames."""
        stream, head = self.head(key)
        return stream, (head, DataFrame(stream, body, flags=["END_STREAM"]))

    def trailers(self, stream, *lines):
        """What comes behind a body, and ends the request."""
        return HeadersFrame(stream, self._encoder.encode(lines), flags=["END_HEADERS", "END_STREAM"])

    def read(self):
        """The next frame; `Ended` where there is none."""
        while True:
            if len(self._unread) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self._unread[:9]))
                if len(self._unread) >= 9 + length:
                    frame.parse_body(memoryview(self._unread[9:9 + length]))
                    self._unread = self._unread[9 + length:]
                    if isinstance(frame, GoAwayFrame):
                        self.goaway = frame.error_code
                    if isinstance(frame, RstStreamFrame):
                        self.resets[frame.stream_id] = frame.error_code
                    return frame
            try:
                piece = self._socket.recv(65536)
            except OSError as error:
                raise Ended from error
            if not piece:
                raise Ended
            self._unread += piece

    def read_until(self, condition):
        """Reads until this holds of a frame, which it returns."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            if condition(frame := self.read()):
                return frame
        raise AssertionError("the frame that was waited for has not come")

    def read_to_end(self):
        """Reads until the gateway ends the connection."""
        try:
            self.read_until(lambda _: False)
        except Ended:
            pass


def split(stream, block):
    """A header block in a HEADERS frame and as many CONTINUATION frames as it takes."""
    pieces = [block[at:at + FRAME_BYTES_MAX] for at in range(0, len(block), FRAME_BYTES_MAX)]
    first, *rest = pieces
    frames = [HeadersFrame(stream, first, flags=["END_STREAM"]), *(ContinuationFrame(stream, piece) for piece in rest)]
    frames[-1].flags.add("END_HEADERS")
    return frames
