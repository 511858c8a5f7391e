"""The radio's layer between two that write down what reaches them, on a clock that jumps."""

import asyncio
import heapq
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.transport.air import SEND_BUFFER, SLOT_S, Air, AirLayer

LATE = SLOT_S + 2e-4


class Loop:
    """As much of an event loop as the air needs."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._due: list[tuple[float, int, Any]] = []
        self._count = 0

    def time(self) -> float:
        return self.now_s

    def call_at(self, at_s: float, call: Callable[..., None]) -> Any:
        self._count += 1
        heapq.heappush(self._due, (at_s, self._count, call))
        return self

    def call_soon(self, call: Callable[..., None]) -> Any:
        return self.call_at(self.now_s, call)

    def cancel(self) -> None:
        self._due.clear()

    @property
    def idle(self) -> bool:
        return not self._due

    def run(self, seconds: float) -> None:
        end = self.now_s + seconds
        while self._due and self._due[0][0] <= end:
            self.now_s, _, call = heapq.heappop(self._due)
            call()
        self.now_s = end


class Socket:
    """The event loop's transport."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.written: list[tuple[float, bytes]] = []
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        assert not self.aborted
        self.written.append((self._loop.now_s, data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def bytes(self) -> bytes:
        return b"".join(data for _, data in self.written)


class Above:
    """Who uses the connection."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.events: list[tuple[float, object]] = []

    def connection_made(self, transport: object) -> None:
        self.events.append((self._loop.now_s, "made"))

    def data_received(self, data: bytes) -> None:
        if data == b"crash":
            raise ZeroDivisionError
        self.events.append((self._loop.now_s, data))

    def eof_received(self) -> None:
        self.events.append((self._loop.now_s, "eof"))

    def pause_writing(self) -> None:
        self.events.append((self._loop.now_s, "pause"))

    def resume_writing(self) -> None:
        self.events.append((self._loop.now_s, "resume"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append((self._loop.now_s, exc or "lost"))

    @property
    def heard(self) -> list[object]:
        return [what for _, what in self.events]


class Setup:
    def __init__(self, rtt_s: float = 0.1, bps: float = 8e9, n: int = 1) -> None:
        self.loop = Loop()
        self.air = Air(n, cast(asyncio.AbstractEventLoop, self.loop))
        if rtt_s:
            self.air.shape(range(n), [rtt_s] * n, [bps] * n, [bps] * n)
        self.above = Above(self.loop)
        self.socket = Socket(self.loop)
        self.layer = AirLayer(cast(asyncio.Protocol, self.above), self.air, 0)

    def connect(self) -> "Setup":
        self.layer.connection_made(cast(asyncio.BaseTransport, self.socket))
        self.loop.run(1.0)
        return self


def test_a_connection_opens_a_round_trip_late_and_bytes_take_half_of_one_each_way() -> None:
    this = Setup(rtt_s=0.1)
    begin = this.loop.now_s
    this.layer.connection_made(cast(asyncio.BaseTransport, this.socket))
    this.loop.run(1.0)
    assert this.above.heard == ["made"]
    assert 0.1 <= this.above.events[0][0] - begin <= 0.1 + LATE
    begin = this.loop.now_s
    this.layer.write(b"up")
    this.layer.data_received(b"down")
    this.loop.run(1.0)
    assert this.socket.bytes == b"up"
    assert this.above.heard == ["made", b"down"]
    for at in (this.socket.written[0][0], this.above.events[1][0]):
        assert 0.05 <= at - begin <= 0.05 + LATE
    assert this.loop.idle, "the clock runs only while something waits"


class WholeMilliseconds(Loop):
    """uvloop's clock: it stands still between two ms, and rounds timers to them."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = 0

    def call_at(self, at_s: float, call: Callable[..., None]) -> Any:
        self.timers += 1
        assert self.timers < 10_000, "it wakes us without end"
        now_ms = round(self.now_s * 1e3)
        return super().call_at((now_ms + max(0, round((at_s - self.now_s) * 1e3))) / 1e3, call)


def test_a_clock_of_whole_ms_wakes_it_once_a_slot() -> None:
    this = Setup(rtt_s=20.0)
    this.loop = loop = WholeMilliseconds()
    this.air.loop = cast(asyncio.AbstractEventLoop, loop)
    this.connect().loop.run(20.0)
    loop.timers = 0
    this.layer.write(b"up")
    loop.run(11.0)
    assert this.socket.bytes == b"up"
    assert loop.timers <= 10.0 / SLOT_S + 2


def test_what_is_written_while_a_slot_is_swept_is_not_forgotten() -> None:
    """A link without a round trip time lets it go on now: into a slot that is over."""
    this = Setup(rtt_s=0.0)
    loop = WholeMilliseconds()
    loop.now_s = 20_000.0  # every sixth slot's end, in s, is a rounding error before it in slots
    this.loop = loop
    this.air.loop = cast(asyncio.AbstractEventLoop, loop)
    this.connect()
    this.above.data_received = lambda data: this.layer.write(data)  # type: ignore[method-assign]
    for _ in range(2_000):
        this.layer.data_received(b"x")
        loop.run(SLOT_S * 0.6)
        loop.timers = 0
    loop.run(1.0)
    assert len(this.socket.bytes) == 2_000
    assert loop.idle


def test_a_slow_link_sends_one_after_the_other() -> None:
    this = Setup(rtt_s=0.02, bps=8_000).connect()  # 1000 bytes a second
    begin = this.loop.now_s
    for _ in range(3):
        this.layer.write(b"x" * 100)
    this.loop.run(1.0)
    arrivals = [at - begin for at, _ in this.socket.written]
    for expected, at in zip((0.11, 0.21, 0.31), arrivals, strict=True):
        assert expected - 1e-9 <= at <= expected + LATE


def test_a_rate_of_none_keeps_the_one_before() -> None:
    this = Setup(rtt_s=0.02, bps=8_000).connect()
    this.air.shape([0], [0.5], [0.0], [0.0])
    begin = this.loop.now_s
    this.layer.write(b"x" * 100)
    this.loop.run(1.0)
    assert 0.35 <= this.socket.written[0][0] - begin <= 0.35 + LATE


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3_000), st.floats(0.0, 0.3), st.floats(0.001, 2.0), st.integers(0, 5)
        ),
        max_size=30,
    )
)
def test_bytes_keep_their_order_and_none_is_lost_whatever_the_radio_does(
    story: list[tuple[int, float, float, int]],
) -> None:
    this = Setup(rtt_s=0.05, bps=1e5).connect()
    up, down = bytearray(), bytearray()
    for size, wait_s, rtt_s, act in story:
        this.loop.run(wait_s)
        this.air.shape([0], [rtt_s], [1e4 / rtt_s], [1e6])
        data = size.to_bytes(4, "big") * (size // 4 + 1)
        this.layer.write(data)
        this.layer.data_received(data)
        up += data
        down += data
        if act == 0:
            this.air.stall(0)
        elif act == 1:
            this.air.restore(0)
    this.air.restore(0)
    this.loop.run(1e5)
    assert this.socket.bytes == bytes(up)
    assert b"".join(what for what in this.above.heard if isinstance(what, bytes)) == bytes(down)
    pauses = [what for what in this.above.heard if what in ("pause", "resume")]
    assert pauses == ["pause", "resume"] * (len(pauses) // 2)


def test_nothing_passes_in_a_stall_and_everything_when_tcp_tries_again() -> None:
    this = Setup(rtt_s=0.1).connect()
    this.layer.write(b"1")
    this.layer.data_received(b"a")
    begin = this.loop.now_s
    this.air.stall(0)
    this.layer.write(b"2")
    this.layer.data_received(b"b")
    this.loop.run(1.3)
    assert this.socket.bytes == b""
    assert this.above.heard == ["made", "pause"]
    this.air.restore(0)
    this.loop.run(2.0)
    # 0.4, 1.2 and 2.8 s after the stall began: the last is the first that finds the radio again.
    assert [data for _, data in this.socket.written] == [b"1", b"2"]
    assert 2.8 <= this.socket.written[0][0] - begin <= 2.8 + LATE
    assert this.above.heard == ["made", "pause", b"a", b"b", "resume"]


def test_a_stall_that_comes_back_before_tcp_tried_again_goes_on() -> None:
    this = Setup(rtt_s=0.1).connect()
    this.layer.write(b"1")
    this.air.stall(0)
    this.loop.run(0.5)
    this.air.restore(0)
    this.loop.run(0.1)
    this.air.stall(0)
    this.loop.run(5.0)
    assert this.socket.bytes == b""
    this.air.restore(0)
    this.loop.run(10.0)
    assert this.socket.bytes == b"1"
    assert this.above.heard == ["made", "pause", "resume"]


def test_a_connection_begun_in_a_stall_waits_for_the_radio() -> None:
    this = Setup()
    this.air.stall(0)
    this.above.events.clear()
    this.layer = AirLayer(cast(asyncio.Protocol, this.above), this.air, 0)
    this.layer.connection_made(cast(asyncio.BaseTransport, this.socket))
    this.loop.run(1.0)
    assert "made" not in this.above.heard
    this.air.restore(0)
    this.loop.run(2.0)
    assert this.above.heard == ["pause", "made", "resume"]


def test_a_full_send_buffer_makes_the_vehicle_wait_until_half_of_it_is_sent() -> None:
    this = Setup(rtt_s=0.02, bps=8 * SEND_BUFFER).connect()  # the buffer a second
    for _ in range(5):
        this.layer.write(b"x" * (SEND_BUFFER // 4))
    assert this.above.heard == ["made", "pause"]
    this.loop.run(0.7)
    assert this.above.heard == ["made", "pause"]
    this.loop.run(0.1)
    assert this.above.heard == ["made", "pause", "resume"]


def test_a_socket_that_takes_no_more_and_a_stall_are_one_pause() -> None:
    this = Setup().connect()
    this.layer.pause_writing()
    this.air.stall(0)
    this.layer.resume_writing()
    assert this.above.heard == ["made", "pause"]
    this.air.restore(0)
    this.loop.run(1.0)
    assert this.above.heard == ["made", "pause", "resume"]


def test_the_end_is_heard_after_what_came_before_it() -> None:
    this = Setup().connect()
    this.layer.data_received(b"goodbye")
    assert this.layer.eof_received() is True
    this.loop.run(1.0)
    assert this.above.heard == ["made", b"goodbye", "eof"]
    assert this.socket.closed
    this.layer.connection_lost(None)
    this.loop.run(1.0)
    assert this.above.heard == ["made", b"goodbye", "eof", "lost"]
    assert this.air.layers == [None]


def test_a_reset_in_a_stall_is_heard_when_the_radio_is_back() -> None:
    this = Setup().connect()
    this.air.stall(0)
    error = ConnectionResetError()
    this.layer.connection_lost(error)
    this.layer.write(b"into the void")
    this.loop.run(1.0)
    assert error not in this.above.heard
    this.air.restore(0)
    this.loop.run(1.0)
    assert this.above.heard[-2:] == [error, "resume"] or this.above.heard[-1] is error


@pytest.mark.parametrize("stalled", [False, True])
def test_a_cut_is_heard_once_whoever_was_first(stalled: bool) -> None:
    this = Setup().connect()
    if stalled:
        this.air.stall(0)
    this.layer.connection_lost(ConnectionResetError())
    this.layer.abort()
    this.loop.run(5.0)
    this.air.restore(0)
    this.loop.run(5.0)
    assert sum(isinstance(what, ConnectionResetError) for what in this.above.heard) == 1


def test_a_cut_of_ours_is_heard_at_once_and_drops_what_waited() -> None:
    this = Setup().connect()
    this.layer.write(b"1")
    this.layer.data_received(b"a")
    this.layer.abort()
    this.layer.connection_lost(None)
    assert this.above.heard == ["made", "lost"]
    this.loop.run(1.0)
    assert this.socket.bytes == b""
    assert this.above.heard == ["made", "lost"]


def test_closing_waits_for_what_was_written() -> None:
    this = Setup().connect()
    this.layer.write(b"bye")
    this.layer.close()
    assert not this.socket.closed
    this.loop.run(1.0)
    assert this.socket.bytes == b"bye"
    assert this.socket.closed


def test_one_connection_whose_user_raises_ends_and_the_others_go_on() -> None:
    this = Setup(n=2).connect()
    other, other_socket = Above(this.loop), Socket(this.loop)
    layer = AirLayer(cast(asyncio.Protocol, other), this.air, 1)
    layer.connection_made(cast(asyncio.BaseTransport, other_socket))
    this.loop.run(1.0)
    this.layer.data_received(b"crash")
    layer.data_received(b"fine")
    this.loop.run(1.0)
    assert this.socket.aborted
    this.layer.connection_lost(None)
    assert isinstance(this.above.heard[-1], ZeroDivisionError)
    assert other.heard == ["made", b"fine"]


def test_without_a_shape_bytes_are_only_stalled() -> None:
    this = Setup(rtt_s=0.0).connect()
    this.layer.write(b"1")
    this.loop.run(LATE)
    assert this.socket.bytes == b"1"
    this.air.stall(0)
    this.layer.write(b"2")
    this.loop.run(3.0)
    this.air.restore(0)
    this.loop.run(LATE)
    assert this.socket.bytes == b"12"
