"""MQTT over WebSocket: a layer around the `websockets` library's protocol, which knows no sockets.

Source: MQTT 5, section 6 (binary messages, subprotocol `mqtt`); RFC 6455.
"""

import asyncio

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from fleet_sim.transport.layer import Layer
from fleet_sim.transport.settings import LinkSettings, WebSocket

_MQTT = Subprotocol("mqtt")


class WebSocketError(ConnectionError):
    """The other side did not become, or stay, a WebSocket that speaks MQTT."""


def resource(settings: LinkSettings) -> WebSocketURI:
    """What all vehicles of a shard ask for; parsed once."""
    assert settings.websocket is not None
    path, _, query = settings.websocket.path.partition("?")
    return WebSocketURI(settings.tls is not None, settings.host, settings.port, path, query)


class WebSocketLayer(Layer):
    """WebSocket of one connection."""

    __slots__ = ("_protocol", "_settings")

    def __init__(self, above: asyncio.Protocol, settings: WebSocket, uri: WebSocketURI) -> None:
        super().__init__(above)
        self._settings = settings
        # Messages of the broker are bounded by MQTT's own packets.
        self._protocol = ClientProtocol(uri, subprotocols=[_MQTT], max_size=None)

    # -- what is below calls ----------------------------------------------------------------------

    def begin(self) -> None:
        request = self._protocol.connect()
        for name, value in self._settings.headers:
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        if not self._over:
            self._protocol.receive_data(data)
            self._take()

    def eof_received(self) -> None:
        if self._protocol.state is State.CONNECTING:
            self._protocol.receive_eof()  # may complete an answer that refuses
            self._take()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._protocol.parser.close()  # it refers to its protocol, which would wait for the GC

    # -- what is above calls ----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._over and self._protocol.state is State.OPEN:
            self._protocol.send_binary(data)
            self._flush()

    def close(self) -> None:
        if not self._over and self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._flush()
        super().close()

    # -- inside -----------------------------------------------------------------------------------

    def _take(self) -> None:
        """Hand up what messages of the broker hold, and deal with all else."""
        protocol = self._protocol
        parts: list[bytes] = []
        for event in protocol.events_received():
            if isinstance(event, Response):
                self._answered()
            elif isinstance(event, Frame):
                # A message may come in pieces, and MQTT is a stream of bytes to us.
                if event.opcode in (Opcode.BINARY, Opcode.CONT):
                    parts.append(bytes(event.data))
                elif event.opcode is Opcode.TEXT:
                    self.give_up(WebSocketError("a text message from the broker (MQTT 5, 6.0.1)"))
                    return
        self._flush()
        if parts and not self._over:
            self._above.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if (problem := protocol.handshake_exc or protocol.parser_exc) is not None:
            self.give_up(WebSocketError(f"not a WebSocket: {_words(problem)}"))
        elif protocol.state in (State.CLOSING, State.CLOSED):
            code = protocol.close_rcvd.code if protocol.close_rcvd is not None else 1006
            self.give_up(WebSocketError(f"WebSocket closed by the broker: {code:d}"))

    def _answered(self) -> None:
        protocol = self._protocol
        refusal = protocol.handshake_exc
        if isinstance(refusal, InvalidStatus):
            status = refusal.response.status_code
            self.give_up(WebSocketError(f"WebSocket refused by the broker: HTTP status {status}"))
        elif refusal is None and protocol.subprotocol != _MQTT:
            self.give_up(WebSocketError("WebSocket without the subprotocol mqtt"))
        elif refusal is None:
            self._above.connection_made(self)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data and self._below is not None:  # an empty one asks for half a close
                self._below.write(data)


def _words(problem: BaseException) -> str:
    """With the cause, which says more."""
    return str(problem) if problem.__cause__ is None else f"{problem}: {problem.__cause__}"
