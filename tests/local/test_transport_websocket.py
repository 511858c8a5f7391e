"""MQTT over WebSocket: against a scripted broker on the library's server side, mosquitto."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from broker import Connection
from mosquitto import MOSQUITTO, Mosquitto, held_port
from test_transport_tls import at_server, vehicle
from transport_bench import Bench, message, on_both_loops, until
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from fleet_sim.transport import WebSocket
from fleet_sim.transport.layer import Layer


class ServerSide(Layer):
    """The broker's end of a WebSocket; every answer in messages of `chunk` bytes."""

    chunk = 1 << 16

    def __init__(self, above: Connection, front: "Front") -> None:
        super().__init__(above)
        self._front = front
        self.protocol = ServerProtocol(subprotocols=front.subprotocols)

    def begin(self) -> None:
        self._front.sides.append(self)

    def data_received(self, data: bytes) -> None:
        if self._front.answer is not None:
            self.raw(self._front.answer)
            return
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self._front.requests.append(event)
                self.protocol.send_response(self.protocol.accept(event))
                self.flush()
                self._above.connection_made(self)
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                self._above.data_received(bytes(event.data))
            elif isinstance(event, Frame):
                self._front.frames.append(event)
        self.flush()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        parts = [data[at : at + self._front.chunk] for at in range(0, len(data), self._front.chunk)]
        for n, part in enumerate(parts):
            if n:
                self.protocol.send_continuation(part, fin=n == len(parts) - 1)
            else:
                self.protocol.send_binary(part, fin=len(parts) == 1)
        self.flush()

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            self.raw(data)

    def raw(self, data: bytes) -> None:
        if data and self._below is not None:
            self._below.write(data)


class Front:
    """A WebSocket server before the scripted broker of a bench."""

    def __init__(self) -> None:
        self.chunk = 1 << 16
        self.subprotocols: list[Subprotocol] | None = [Subprotocol("mqtt")]
        self.answer: bytes | None = None
        """Said instead of opening the WebSocket."""
        self.requests: list[Request] = []
        self.frames: list[Frame] = []
        self.sides: list[ServerSide] = []

    async def start(self, bench: Bench, **arguments: object) -> None:
        broker = bench.broker
        await broker.stop()
        create = cast(Callable[..., object], asyncio.get_running_loop().create_server)
        broker._server = await create(  # type: ignore[misc]
            lambda: ServerSide(Connection(broker), self), "127.0.0.1", 0, **arguments
        )
        assert broker._server is not None
        broker.port = broker._server.sockets[0].getsockname()[1]


@on_both_loops
async def test_messages_and_reconnects(bench: Bench) -> None:
    front = Front()
    await front.start(bench)
    transport = await bench.connected(3, websocket=WebSocket("/mqtt?x=1", (("X-Fleet", "a"),)))
    for i in range(3):
        transport.publish(i, message(i, padding=70_000 * i))
    await until(lambda: sorted(bench.seen.acked) == [0, 1, 2])
    request = front.requests[0]
    assert request.path == "/mqtt?x=1"
    assert request.headers["X-Fleet"] == "a"
    assert request.headers["Sec-WebSocket-Protocol"] == "mqtt"
    assert request.headers["Host"] == f"127.0.0.1:{bench.broker.port}"
    bench.broker.last("v1").cut()
    await until(lambda: len(bench.seen.online) == 4)
    transport.publish(1, message(9))
    await until(lambda: 9 in bench.seen.acked)
    assert await transport.close(2.0) == []
    assert [frame.opcode for frame in front.frames] == [Opcode.CLOSE] * 3  # each said goodbye


@on_both_loops
async def test_pieces_and_pings(bench: Bench) -> None:
    """Packets that come one byte a frame, with a ping in between that asks for its pong."""
    front = Front()
    front.chunk = 1
    await front.start(bench)
    transport = await bench.connected(websocket=WebSocket())
    transport.publish(0, message(1))
    await until(lambda: bench.seen.acked == [1])
    side = front.sides[-1]
    side.protocol.send_ping(b"are you there")
    side.flush()
    await until(lambda: [f.data for f in front.frames] == [b"are you there"])
    assert front.frames[0].opcode is Opcode.PONG


@on_both_loops
async def test_over_tls(bench: Bench) -> None:
    front = Front()
    await front.start(bench, ssl=at_server())
    transport = await bench.connected(2, tls=vehicle("v0"), websocket=WebSocket())
    transport.publish(0, message(1))
    await until(lambda: bench.seen.acked == [1])
    for connection in bench.broker.live:
        connection.cut()
    await until(lambda: len(bench.seen.online) == 4)
    assert transport.handshakes == (2, 2)


ANSWERS = {
    "refused": (
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        "WebSocket refused by the broker: HTTP status 403",
    ),
    "redirected": (
        b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        "WebSocket refused by the broker: HTTP status 301",
    ),
    "an MQTT broker": (
        b"\x20\x03\x00\x00\x00\r\n\r\n",
        "not a WebSocket: did not receive a valid HTTP response",
    ),
    "a wrong key": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAA\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        "not a WebSocket: invalid Sec-WebSocket-Accept header: AAAA",
    ),
}


@pytest.mark.parametrize("what", ANSWERS)
@on_both_loops
async def test_what_is_no_websocket_is_counted_with_its_reason(bench: Bench, what: str) -> None:
    front = Front()
    front.answer, reason = ANSWERS[what]
    await front.start(bench)
    transport = bench.transport(websocket=WebSocket())
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    ((said, _),) = transport.failures.items()
    assert said.startswith(reason)
    assert bench.seen.online == []


@on_both_loops
async def test_a_server_that_does_not_speak_mqtt(bench: Bench) -> None:
    front = Front()
    front.subprotocols = None
    await front.start(bench)
    transport = bench.transport(websocket=WebSocket())
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    assert set(transport.failures) == {"WebSocket without the subprotocol mqtt"}


ENDS = {
    "closed": (Frame(Opcode.CLOSE, b"\x03\xe9"), "WebSocket closed by the broker: 1001"),
    "text": (Frame(Opcode.TEXT, b"hello"), "a text message from the broker"),
    "masked": (b"\x82\x81\x00\x00\x00\x00\x00", "not a WebSocket: incorrect masking"),
}


@pytest.mark.parametrize("what", ENDS)
@on_both_loops
async def test_what_ends_an_open_websocket_is_counted(bench: Bench, what: str) -> None:
    front = Front()
    await front.start(bench)
    await bench.connected(websocket=WebSocket())
    frame, reason = ENDS[what]
    front.sides[-1].raw(
        frame if isinstance(frame, bytes) else frame.serialize(mask=False, extensions=[])
    )
    await until(lambda: len(bench.seen.online) == 2)
    ((_, said),) = bench.seen.offline
    assert said.startswith(reason)


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
@on_both_loops
async def test_against_mosquitto(bench: Bench) -> None:
    held, port = held_port()
    with tempfile.TemporaryDirectory() as folder:
        options = f"listener {port} 127.0.0.1\nprotocol websockets"
        broker = Mosquitto(Path(folder), options)
        broker.start()
        try:
            await until(broker.answers)
            bench.broker.port = port
            transport = await bench.connected(5, websocket=WebSocket())
            for token in range(50):
                transport.publish(token % 5, message(token))
            await until(lambda: len(bench.seen.acked) == 50)
            assert sorted(bench.seen.acked) == list(range(50))
            assert await transport.close(2.0) == []
            # That listener may open later than the one that answered.
            assert not [reason for reason in transport.failures if "WebSocket" in reason]
        finally:
            broker.stop()
            held.close()
