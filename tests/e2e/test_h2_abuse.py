"""HTTP/2 as it is abused: others are answered all the while, and nothing of it is left: no flight, no hold, no body."""

import threading
import uuid

import pytest
from hyperframe.frame import (
    ContinuationFrame, DataFrame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame, SettingsFrame,
    WindowUpdateFrame,
)

import raw
from frames import CANCEL, Ended, Frames, split
from processes import envoy_version, wait_until
from wallet import Paying

# It loads the machine, and whoever asks beside it is to be answered in time.
pytestmark = pytest.mark.alone

RESETS = 10_000
# Of one kind, each: far more than the gateway takes without ending the connection.
FLOOD = 200_000
BATCH = 1_000
# What must be as it was: calls, those that wait for one, bodies and answers that are kept.
GAUGES = ("kt_flights", "kt_flight_followers", "kt_request_body_bytes", "kt_flight_log_bytes")


@pytest.fixture(scope="module")
def abused():
    with Paying() as group:
        yield group


@pytest.fixture
def wallet(abused):
    return abused.wallet(10**12)


@pytest.fixture(autouse=True)
def nothing_is_left(abused, wallet):
    """The same Envoys run as before, no VM was lost, and what was begun has its end."""
    before = [envoy.pid for envoy in abused.a.envoys()]
    yield
    abused.provider.wait_idle()
    for gauge in GAUGES:
        wait_until(lambda: abused.sidecar.gauge(gauge) == 0, f"{gauge} is 0")
    wait_until(lambda: wallet.pending == 0, "no hold is open")
    assert wallet.audit()["breaches"] == []
    assert [envoy.pid for envoy in abused.a.envoys()] == before
    assert abused.a.vms_lost() == 0


class Others:
    """Somebody who asks all the while and must be answered, with a connection for each question."""

    def __init__(self, group, key):
        self._group, self._key, self._over = group, key, threading.Event()
        self._thread, self.answers = threading.Thread(target=self._ask), []

    def _ask(self):
        while not self._over.is_set() or not self.answers:
            with self._group.a.client(timeout=20) as client:
                self.answers.append(self._group.a.ask(self._key, f"others {uuid.uuid4()}", client=client))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        assert self.answers and all(answer.status == 200 and answer.broke is None for answer in self.answers)


@pytest.fixture
def others(abused):
    with Others(abused, abused.wallet(10**12).key()) as others:
        yield others


def hanging(prompt):
    return raw.chat_bytes(f"{prompt} {uuid.uuid4().hex} [[fake: hang]]")


def resets(group):
    """How many streams Envoy has seen reset by clients."""
    return group.a.envoy_stats().get("http.ingress.downstream_rq_rx_reset", 0)


def test_ten_thousand_streams_that_are_reset_at_once_leave_nothing(abused, wallet, others):
    key, before, connections = wallet.key(), resets(abused), 0
    while resets(abused) < before + RESETS:
        connections += 1
        try:
            with Frames(abused.a) as frames:
                while True:
                    asked = [frames.ask(key, hanging("reset")) for _ in range(100)]
                    frames.send(*(frame for stream, both in asked
                                  for frame in (*both, RstStreamFrame(stream, error_code=CANCEL))))
        except Ended:
            pass
    assert connections > 1, "Envoy ends a connection that does nothing else"


def test_streams_that_are_reset_while_their_calls_run_end_the_calls(abused, wallet, others):
    key = wallet.key()
    for nth in range(5):
        # Those of others come and go meanwhile.
        def running():
            return sum(call["prompt"].startswith(f"call {nth} ") for call in abused.provider.calls()["running"].values())
        with Frames(abused.a) as frames:
            asked = [frames.ask(key, hanging(f"call {nth}")) for _ in range(100)]
            frames.send(*(frame for _, both in asked for frame in both))
            wait_until(lambda: running() == 100, "all fly")
            frames.send(*(RstStreamFrame(stream, error_code=CANCEL) for stream, _ in asked))
            wait_until(lambda: wallet.pending == 0, "each call has its end")
    assert wallet.rows() == {"pending": 500, "post": 500}


def test_heads_whose_bodies_never_come_cost_nothing(abused, wallet, others):
    with Frames(abused.a) as frames:
        key = wallet.key()
        frames.send(*(frames.head(key)[1] for _ in range(100)))
        stream, both = frames.ask(key, raw.chat_bytes(f"among them {uuid.uuid4()}"))
        frames.send(*both)
        frames.read_until(lambda frame: isinstance(frame, DataFrame) and frame.stream_id == stream)
    assert wallet.rows() == {"pending": 1, "post": 1}


def many(frames, make):
    """Sends and never reads until the gateway has enough."""
    with pytest.raises(Ended):
        for _ in range(FLOOD // BATCH):
            frames.write(b"".join(make(number).serialize() for number in range(BATCH)))
        frames.read_to_end()
        raise Ended


@pytest.mark.parametrize("what, make", [
    ("settings", lambda number: SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 16_384 + number})),
    ("ping", lambda number: PingFrame(0, opaque_data=number.to_bytes(8))),
    ("priority", lambda number: PriorityFrame(2 * number + 1, depends_on=0)),
    ("window", lambda number: WindowUpdateFrame(0, window_increment=1)),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_flood_of_frames_that_ask_nothing_ends_its_connection(abused, wallet, others, what, make):
    with Frames(abused.a) as frames:
        many(frames, make)


@pytest.mark.parametrize("piece", [b"", b"\x00" * 16_000], ids=["empty", "full"])
def test_a_flood_of_continuations_ends_its_connection(abused, wallet, others, piece):
    with Frames(abused.a) as frames:
        stream = frames.stream()
        frames.send(HeadersFrame(stream, frames.block(wallet.key())))
        many(frames, lambda _: ContinuationFrame(stream, piece))


def test_a_flood_of_empty_data_ends_its_connection(abused, wallet, others):
    with Frames(abused.a) as frames:
        stream, head = frames.head(wallet.key())
        frames.send(head)
        many(frames, lambda _: DataFrame(stream, b""))


def test_readers_without_a_window_hold_back_nobody(abused, wallet, others):
    key, body = wallet.key(), raw.chat_bytes(f"{uuid.uuid4()} [[fake: size=200000, delta_ms=0]]")
    with Frames(abused.a, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}) as frames:
        asked = [frames.ask(key, body) for _ in range(100)]
        frames.send(*(frame for _, both in asked for frame in both))
        frames.read_until(lambda frame: isinstance(frame, HeadersFrame))
        answer = abused.b.post(key, body)
        assert answer.status == 200 and len(answer.body) > 200_000, answer
        wait_until(lambda: abused.sidecar.gauge("kt_flights") == 0, "the call is over though nobody of them reads")


def bomb(frames, key):
    """A field of 4,000 bytes that stands in the table once, and in the head 16,000 times."""
    block = frames.block(key, [("x-bomb", "b" * 3_900)])
    # The newest entry of the dynamic table.
    return split(frames.stream(), block + b"\xbe" * 16_000)


def test_a_small_head_that_unfolds_to_a_large_one_is_refused(abused, wallet, others):
    with Frames(abused.a) as frames:
        try:
            frames.send(*bomb(frames, wallet.key()))
            frames.read_until(lambda frame: isinstance(frame, (RstStreamFrame, HeadersFrame)))
        except Ended:
            pass
    assert wallet.rows() == {}


def test_a_table_beyond_what_was_agreed_ends_its_connection(abused, wallet, others):
    with Frames(abused.a) as frames:
        # A size update to 2^30, where the settings say 4,096.
        frames.send(HeadersFrame(frames.stream(), b"\x3f\xe1\xff\xff\xff\x03" + frames.block(wallet.key()), flags=["END_HEADERS"]))
        frames.read_to_end()
        assert frames.goaway, "a connection error"


def test_data_behind_the_end_of_a_stream_is_an_error(abused, wallet, others):
    body = raw.chat_bytes(f"{uuid.uuid4()} [[fake: hang]]")
    with Frames(abused.a) as frames:
        stream, both = frames.ask(wallet.key(), body)
        frames.send(*both, DataFrame(stream, b"more", flags=["END_STREAM"]), PingFrame(0, b"have you"))
        if envoy_version() >= (1, 37):
            frames.read_until(lambda _: stream in frames.resets or frames.goaway is not None)
        else:
            # It passes it over (docs/operations/versions.md): the connection goes on, and so does the stream.
            frames.read_until(lambda frame: isinstance(frame, PingFrame) and "ACK" in frame.flags)
            assert frames.goaway is None and not frames.resets
    abused.provider.wait_idle()


def test_data_on_a_stream_that_never_was_is_an_error(abused, wallet, others):
    with Frames(abused.a) as frames:
        frames.send(DataFrame(99, b"more", flags=["END_STREAM"]))
        frames.read_to_end()
        assert frames.goaway, "a connection error"


def test_a_window_beyond_what_there_can_be_ends_its_connection(abused, wallet, others):
    with Frames(abused.a) as frames:
        stream, both = frames.ask(wallet.key(), hanging("window"))
        frames.send(*both, *[WindowUpdateFrame(stream, window_increment=2**31 - 1)] * 2)
        frames.read_to_end()
