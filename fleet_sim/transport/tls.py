"""TLS of a shard's vehicles over `ssl.MemoryBIO`: one context for all, resumption by ticket.

A context a vehicle would cost 29 KB, and a millisecond of CPU to make. What differs between
vehicles is the certificate alone, and a connection takes that from its context when it is made: so
each full handshake first loads its own into the one context they share. That parsing of the key is
most of what a returning vehicle would still pay: one with a ticket goes without certificate, and
only if the broker refuses the ticket does it begin again with it, in the same attempt.
"""

import asyncio
import contextlib
import ssl
from typing import Literal, NamedTuple

from fleet_sim.transport.layer import Layer
from fleet_sim.transport.settings import Tls

Outcome = Literal["ready", "ticket refused", "failed"]

_READ = 1 << 16
_REFUSALS = 3
"""Generations of tickets refused in a row, after which no more are offered: the broker hands out
what it does not take, and each try costs it a connection."""


class Handshakes(NamedTuple):
    """How many of each kind."""

    full: int
    resumed: int
    """Shortened by a ticket."""


class NotTrustedError(ConnectionError):
    """The broker went after the handshake, without an alert that would say why."""

    def __init__(self) -> None:
        super().__init__(
            "closed by the broker between TLS and MQTT: it may not trust the vehicle's certificate"
        )


class TlsClient:
    """Contexts and tickets of `vehicles` vehicles. `host` is the name to verify by default.

    `OSError` when the CA file cannot be read.
    """

    def __init__(self, settings: Tls, host: str, vehicles: int) -> None:
        self._settings = settings
        self._name = settings.server_name or host
        self._context = settings.context()
        self._bare = settings.context() if settings.certificates else self._context
        self._resumption = settings.resumption
        self._tickets: list[ssl.SSLSession | None] = [None] * (vehicles if self._resumption else 0)
        self.generation = 0
        """Of the broker's key for tickets, as far as we know: one more with each refusal."""
        self._refused_in_row = 0
        self.full = 0
        self.resumed = 0

    def object(
        self, i: int, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> tuple[ssl.SSLObject, bool]:
        """TLS of vehicle i's next connection, and whether it can only succeed with the ticket that
        it offers (each is offered once). `OSError` when its certificate cannot be read or its key
        is another's."""
        ticket = self._tickets[i] if self._resumption else None
        certificates = self._settings.certificates
        if ticket is None and certificates:
            self._context.load_cert_chain(*certificates[i])
        made = self._context.wrap_bio(
            incoming, outgoing, server_hostname=self._name, session=ticket
        )
        if ticket is not None:
            self._tickets[i] = None
            # The shared context holds whoever's certificate was loaded last.
            made.context = self._bare
        return made, ticket is not None and bool(certificates)

    def refused(self, generation: int) -> None:
        """A ticket was refused, of a connection that began in `generation`. All that were given
        before go: the broker was restarted, or has changed its key."""
        if generation != self.generation:
            return  # many are under way when the first refusal comes
        self.generation += 1
        self._tickets = [None] * len(self._tickets)
        self._refused_in_row += 1
        if self._refused_in_row >= _REFUSALS:
            self._resumption = False
            self._tickets.clear()

    def accepted(self, resumed: bool) -> None:
        """A handshake ended well."""
        if resumed:
            self.resumed += 1
            self._refused_in_row = 0
        else:
            self.full += 1

    def keep(self, i: int, connection: ssl.SSLObject, generation: int) -> None:
        """Remember the ticket of a connection that ended, and had begun in `generation`."""
        if not self._resumption or generation != self.generation:
            return
        if connection.context is not self._context:
            connection.context = self._context  # a session is good for its own context only
        session = connection.session
        if session is not None and session.has_ticket:
            self._tickets[i] = session


class TlsLayer(Layer):
    """TLS of one connection of vehicle i."""

    __slots__ = (
        "_client",
        "_generation",
        "_heard",
        "_i",
        "_incoming",
        "_object",
        "_outgoing",
        "_resuming",
        "outcome",
    )

    def __init__(
        self, above: asyncio.Protocol, client: TlsClient, i: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(above)
        self._client = client
        self._generation = client.generation
        self._heard = False  # a word of what is above
        self._i = i
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object, self._resuming = client.object(i, self._incoming, self._outgoing)
        self.outcome: asyncio.Future[Outcome] = loop.create_future()
        """Of the handshake. After "ticket refused" nothing above has heard of this connection."""

    # -- what is below calls ----------------------------------------------------------------------

    def begin(self) -> None:
        self._handshake()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._incoming.write(data)
        if self.outcome.done():
            self._read()
        else:
            self._handshake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.outcome.done():
            if self.outcome.result() == "ticket refused":
                return
            if self.outcome.result() == "ready" and self._error is None:
                self._client.keep(self._i, self._object, self._generation)
            if self._silent():
                self._error = NotTrustedError()
        else:
            self.outcome.set_result("failed")
        super().connection_lost(exc)

    def eof_received(self) -> None:
        if self._silent():
            self.give_up(NotTrustedError())
        else:
            super().eof_received()

    def _silent(self) -> bool:
        """Whether the broker leaves without a word. In TLS 1.3 it checks the vehicle's certificate
        after the vehicle's side of the handshake is done, and one that closes with our CONNECT
        unread resets the connection: the alert may be lost with that."""
        ready = self.outcome.done() and self.outcome.result() == "ready"
        return ready and not self._heard and not self._over

    # -- what is above calls ----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._over:
            self._object.write(data)
            self._flush()

    def close(self) -> None:
        if not self._over:
            with contextlib.suppress(ssl.SSLError):  # it wants to wait for the other's goodbye
                self._object.unwrap()
            self._flush()
        super().close()

    # -- inside -----------------------------------------------------------------------------------

    def _handshake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()
            self.outcome.set_result("failed")
            self.give_up(error)
            return
        resumed = bool(self._object.session_reused)
        if self._resuming and not resumed:
            # Its Finished is not sent: the broker must not take a vehicle for one without
            # certificate.
            self._client.refused(self._generation)
            self.outcome.set_result("ticket refused")
            self.abort()
            return
        self._client.accepted(resumed)
        self._flush()
        self.outcome.set_result("ready")
        self._above.connection_made(self)
        self._read()  # what came with the last of the handshake

    def _read(self) -> None:
        incoming, read, pending = self._incoming, self._object.read, self._object.pending
        parts: list[bytes] = []
        error: Exception | None = None
        ended = False
        try:
            while incoming.pending or pending():
                data = read(_READ)
                if not data:
                    ended = True
                    break
                parts.append(data)
        except ssl.SSLWantReadError:  # half a record
            pass
        except ssl.SSLError as problem:
            error = problem
        if self._outgoing.pending:  # an answer of TLS itself: an alert, a key update
            self._flush()
        if parts:
            self._heard = True
            self._above.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if error is not None:
            self.give_up(error)
        elif ended and not self._over:
            self.eof_received()

    def _flush(self) -> None:
        if self._below is not None and self._outgoing.pending:
            self._below.write(self._outgoing.read())
