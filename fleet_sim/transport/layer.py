"""A layer between a socket and a `Link`: a protocol to what is below, a transport to what is above.

TLS and WebSocket are layers of our own: those of the event loop take a thread-safe, general path,
keep a quarter of a megabyte of buffer a connection, and cannot return with a session ticket.
"""

import asyncio
from typing import cast

_NOBODY = asyncio.Protocol()
"""Above a connection that is over: the circle of references with the link is broken, so that its
memory goes at once."""


class Layer(asyncio.Transport, asyncio.Protocol):
    """Passes everything through; subclasses change what they must.

    `above` hears `connection_made` when the layer is ready, and `connection_lost` exactly once,
    with the layer's own error when it had one.
    """

    __slots__ = ("_above", "_below", "_error", "_over")

    def __init__(self, above: asyncio.Protocol) -> None:
        super().__init__()
        self._above = above
        self._below: asyncio.Transport | None = None
        self._over = False  # given up: what still comes from either side is void
        self._error: Exception | None = None

    # -- what is below calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are none of asyncio's classes.
        self._below = cast(asyncio.Transport, transport)
        if self._over:  # given up while the socket was being opened
            self._below.abort()
        else:
            self.begin()

    def begin(self) -> None:
        """What is below is open."""
        self._above.connection_made(self)

    def data_received(self, data: bytes) -> None:
        self._above.data_received(data)

    def eof_received(self) -> bool | None:
        if not self._over:
            self._above.eof_received()
        return None

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        above, self._above, self._below = self._above, _NOBODY, None
        above.connection_lost(self._error or exc)

    # -- what is above calls ----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._below is not None and not self._over:
            self._below.write(data)

    def close(self) -> None:
        if self._below is not None:
            self._below.close()

    def abort(self) -> None:
        self._over = True
        if self._below is not None:
            self._below.abort()

    def is_closing(self) -> bool:
        return self._over or (self._below is not None and self._below.is_closing())

    # -- inside -----------------------------------------------------------------------------------

    def give_up(self, error: Exception) -> None:
        """End with an error of this layer, after what was written is out (an alert, say)."""
        if not self._over:
            self._over = True
            self._error = error
            assert self._below is not None
            self._below.close()
