"""An MQTT 5 broker for tests: it runs in the test's own event loop and misbehaves as told.

It speaks through the `mqtt5` codec, delivers nothing between clients, and records all it receives.
What it does is set by plain attributes that a test may change at any moment.
"""

import asyncio
import socket
import ssl
import struct
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import mqtt5


class Received(NamedTuple):
    """A packet, in the order of arrival over all connections."""

    connection: int
    """0 for the first connection that was ever made, and so on."""
    client_id: str
    packet: mqtt5.Packet


class Broker:
    """A broker on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.port = 0
        self.refuse: mqtt5.ConnAckReasonCode | None = None
        """Answer every CONNECT with this."""
        self.answer_connect = True
        self.connack_delay_s = 0.0
        self.acknowledge = True
        """False keeps every PUBACK back; `release` sends them."""
        self.puback_reason = mqtt5.PubAckReasonCode.SUCCESS
        self.answer_pings = True
        self.keep_sessions = True
        self.receive_maximum = 65_535
        self.server_keep_alive: int | None = None
        self.connack: dict[str, Any] = {}
        """More of what CONNACK says, accepting or refusing."""
        self.byte_by_byte = False
        self.deaf = False
        """True accepts connections and takes nothing in from them."""
        self.on_packet: Callable[[Connection, mqtt5.Packet], bool] | None = None
        """Called first; True means that the packet is dealt with."""
        self.received: list[Received] = []
        self.connections: list[Connection] = []
        self.sessions: set[str] = set()
        self.most_unacknowledged = 0
        self.most_handshakes = 0
        self.connect_times: list[float] = []
        """Loop time of each CONNECT."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", port, ssl=tls, backlog=1_000
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        ends = [c.ended for c in self.connections if c.opened]
        for connection in self.connections:
            connection.cut()
        if ends:
            await asyncio.wait(ends, timeout=30.0)

    # -- what it saw ------------------------------------------------------------------------------

    def packets(self, kind: type[mqtt5.Packet]) -> list[mqtt5.Packet]:
        return [item.packet for item in self.received if type(item.packet) is kind]

    def publishes(self, client_id: str | None = None) -> list[mqtt5.PublishPacket]:
        return [
            item.packet
            for item in self.received
            if isinstance(item.packet, mqtt5.PublishPacket) and client_id in (None, item.client_id)
        ]

    def tokens(self, client_id: str | None = None) -> list[int]:
        """Payloads of what was published, which tests write as decimal numbers."""
        return [int(packet.payload.split()[0]) for packet in self.publishes(client_id)]

    def first_tokens_by_client(self) -> dict[str, list[int]]:
        """Tokens by client, in the order in which each was first seen."""
        seen: dict[str, dict[int, None]] = defaultdict(dict)
        for item in self.received:
            if isinstance(item.packet, mqtt5.PublishPacket):
                seen[item.client_id].setdefault(int(item.packet.payload.split()[0]))
        return {client_id: list(tokens) for client_id, tokens in seen.items()}

    @property
    def live(self) -> "list[Connection]":
        return [connection for connection in self.connections if not connection.ended.done()]

    def last(self, client_id: str) -> "Connection":
        """The newest connection of a client."""
        return next(c for c in reversed(self.connections) if c.client_id == client_id)

    def spawn(self, connection: "Connection", data: bytes, pause_s: float, chunk: int) -> None:
        """Write `data` in pieces of `chunk` bytes, a pause before each."""

        async def dribble() -> None:
            async with connection.turn:
                for at in range(0, len(data), chunk):
                    await asyncio.sleep(pause_s)
                    connection.raw(data[at : at + chunk])

        task = asyncio.get_running_loop().create_task(dribble())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Connection(asyncio.Protocol):
    """One client connection, from the broker's side."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self.number = len(broker.connections)
        self.client_id = ""
        self.accepted = False
        self.turn = asyncio.Lock()
        self._finished = False
        self.unacknowledged: list[int] = []
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        broker.connections.append(self)

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = transport = cast(asyncio.Transport, transport)
        broker = self._broker
        under_way = sum(not c.accepted for c in broker.live)
        broker.most_handshakes = max(broker.most_handshakes, under_way)

    def data_received(self, data: bytes) -> None:
        if self._broker.deaf:
            return
        self._buffer += data
        while self._buffer:
            try:
                packet, size = mqtt5.read(memoryview(self._buffer))
            except IndexError:
                return
            self._buffer = self._buffer[size:]
            self._take(packet)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)

    # -- what a test does -------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        if self._transport is not None and not self._finished and not self.ended.done():
            self._transport.write(data)

    def send(self, packet: mqtt5.Packet, delay_s: float = 0.0) -> None:
        data = packet.write()
        if self._broker.byte_by_byte:
            self._broker.spawn(self, data, 0.002, 1)
        elif delay_s:
            self._broker.spawn(self, data, delay_s, len(data))
        else:
            self.raw(data)

    def release(self) -> None:
        """Acknowledge what was kept back."""
        ids, self.unacknowledged = self.unacknowledged, []
        for packet_id in ids:
            self.send(mqtt5.PubAckPacket(packet_id, reason_code=self._broker.puback_reason))

    def stop_reading(self) -> None:
        assert self._transport is not None
        self._transport.pause_reading()

    def start_reading(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    @property
    def opened(self) -> bool:
        """False while, or when, the TLS handshake did not come to its end."""
        return self._transport is not None

    def finish(self) -> None:
        """Send FIN and keep the socket open."""
        assert self._transport is not None
        self._finished = True
        self._transport.write_eof()

    def cut(self, *, reset: bool = False) -> None:
        """Close at once, with RST when `reset` (else FIN, unless unread bytes make it RST)."""
        if self._transport is None or self.ended.done():
            return
        if reset:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # -- packets ----------------------------------------------------------------------------------

    def _take(self, packet: mqtt5.Packet) -> None:
        broker = self._broker
        if isinstance(packet, mqtt5.ConnectPacket):
            self.client_id = packet.client_id
            broker.connect_times.append(asyncio.get_running_loop().time())
        broker.received.append(Received(self.number, self.client_id, packet))
        if isinstance(packet, mqtt5.PublishPacket) and packet.packet_id is not None:
            self.unacknowledged.append(packet.packet_id)
            broker.most_unacknowledged = max(broker.most_unacknowledged, len(self.unacknowledged))
        if broker.on_packet is not None and broker.on_packet(self, packet):
            return
        if isinstance(packet, mqtt5.ConnectPacket):
            self._answer(packet)
        elif isinstance(packet, mqtt5.PublishPacket) and broker.acknowledge:
            self.release()
        elif isinstance(packet, mqtt5.PingReqPacket) and broker.answer_pings:
            self.send(mqtt5.PingRespPacket())
        elif isinstance(packet, mqtt5.DisconnectPacket):
            assert self._transport is not None
            self._transport.close()

    def _answer(self, packet: mqtt5.ConnectPacket) -> None:
        broker = self._broker
        if broker.refuse is not None:
            self.send(mqtt5.ConnAckPacket(reason_code=broker.refuse, **broker.connack))
            return
        if not broker.answer_connect:
            return
        if packet.clean_start or not broker.keep_sessions:
            broker.sessions.discard(packet.client_id)
        present = packet.client_id in broker.sessions
        broker.sessions.add(packet.client_id)
        self.accepted = True
        self.send(
            mqtt5.ConnAckPacket(
                session_present=present,
                receive_max=broker.receive_maximum,
                server_keep_alive=broker.server_keep_alive,
                **broker.connack,
            ),
            broker.connack_delay_s,
        )
