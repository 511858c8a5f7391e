"""TCP connections by the thousand: one epoll of our own, of which the event loop watches one file
descriptor.

An event loop's own TCP transport is made for all cases: buffers, callbacks and a turn of the loop
for every write and read. Here a write is one `send`, and what came in on all connections since the
last look is read in one sweep, where whoever reads can look at the bytes before anyone copies them.
"""

import asyncio
import errno
import os
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any

HIGH_WATER = 65_536
"""Bytes that wait for a full socket before those above are told to pause; at a quarter they go on
(asyncio's own limits)."""
_READ = 65_536
_AT_ONCE = 512
"""Connections read in one sweep, so that the loop's other work gets its turn."""
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Sockets:
    """Connections on one running event loop.

    `short(i, buffer, size, t_ns)` may take the `size` bytes, 0 at the end of them, that came in on
    the wire with this `short` number, and answers whether it did; else they go the way of all
    bytes. `t_ns`: when the sweep began, by `now_ns`. They were there already.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        short: Callable[[int, bytearray, int, int], bool],
        now_ns: Callable[[], int],
    ) -> None:
        self.loop = loop
        self._short = short
        self._now_ns = now_ns
        self._epoll = select.epoll()
        self._wires: dict[int, Wire] = {}
        self._opening: dict[int, asyncio.Future[None]] = {}
        self._buffer = bytearray(_READ)
        self._view = memoryview(self._buffer)
        loop.add_reader(self._epoll.fileno(), self._sweep)

    async def connect(
        self, protocol: asyncio.Protocol, host: str, port: int, source_ip: str | None = None
    ) -> None:
        """Open a connection, and call the protocol's `connection_made`. `OSError` of the last
        address when none of the host's answers."""
        error: OSError | None = None
        for family, address in await self._addresses(host, port):
            try:
                sock = await self._open(family, address, source_ip)
            except OSError as problem:
                error = problem
                continue
            wire = self._wires[sock.fileno()] = Wire(self, sock, protocol)
            try:
                protocol.connection_made(wire)
            except BaseException:
                wire.abort()
                raise
            return
        raise error or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")

    def close(self) -> None:
        """Abort what is still open, and let go of the event loop."""
        for wire in list(self._wires.values()):
            wire.abort()
        if not self._epoll.closed:
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    async def _addresses(self, host: str, port: int) -> Sequence[tuple[int, Any]]:
        try:
            socket.inet_pton(socket.AF_INET, host)
        except OSError:
            found = await self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [(family, address) for family, _, _, _, address in found]
        return [(socket.AF_INET, (host, port))]

    async def _open(self, family: int, address: Any, source_ip: str | None) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        fd = sock.fileno()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source_ip is not None:
                # Ports of connections that have just ended are free again.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((source_ip, 0))
            problem = sock.connect_ex(address)
            if problem == errno.EINPROGRESS:
                problem = await self._opened(sock, fd)
            if problem:
                raise OSError(problem, os.strerror(problem))
            self._epoll.register(fd, _IN)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _opened(self, sock: socket.socket, fd: int) -> int:
        opened = self._opening[fd] = self.loop.create_future()
        self._epoll.register(fd, _OUT)
        try:
            await opened
        finally:
            del self._opening[fd]
            if not self._epoll.closed:
                self._epoll.unregister(fd)
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _sweep(self) -> None:
        """Serve the connections on which something happened."""
        wires, buffer, view, short = self._wires, self._buffer, self._view, self._short
        happened = self._epoll.poll(0, _AT_ONCE)
        t_ns = self._now_ns()
        for fd, events in happened:
            wire = wires.get(fd)
            if wire is None:  # aborted in this very sweep, or not open yet
                opening = self._opening.get(fd)
                if opening is not None and not opening.done():
                    opening.set_result(None)
                continue
            if events != _OUT:
                try:
                    size = wire.recv_into(buffer)
                except (BlockingIOError, InterruptedError):
                    pass
                except OSError as error:
                    wire.fail(error)
                    continue
                else:
                    try:
                        if wire.short >= 0 and short(wire.short, buffer, size, t_ns):
                            pass
                        elif size:
                            wire.protocol.data_received(bytes(view[:size]))
                        else:
                            wire.ended()
                    except Exception as error:  # noqa: BLE001 - one connection's, the others go on
                        wire.crash(error)
            if events & _OUT:
                wire.flush()

    def forget(self, fd: int) -> None:
        """Of a wire that is over: no more events."""
        self._epoll.unregister(fd)
        del self._wires[fd]

    def watch(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)


class Wire(asyncio.Transport):
    """One open connection of `Sockets`. `protocol` hears `connection_lost` exactly once."""

    __slots__ = (
        "_closing",
        "_fd",
        "_gone",
        "_paused",
        "_sock",
        "_sockets",
        "_waiting",
        "protocol",
        "recv_into",
        "send",
        "short",
    )

    def __init__(self, sockets: Sockets, sock: socket.socket, protocol: asyncio.Protocol) -> None:
        self._sockets = sockets
        self._sock = sock
        self._fd = sock.fileno()
        self.send = sock.send
        self.recv_into = sock.recv_into
        self.short = -1
        """Its number on the short way of `Sockets`; -1 is none."""
        self.protocol = protocol
        self._waiting: bytearray | None = None  # what the socket did not take
        self._paused = False  # those above were told to
        self._closing = False
        self._gone = False

    # -- asyncio.Transport ------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        if self._waiting is None:
            try:
                sent = self.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self.fail(error)
                return
            if sent != len(data):
                self.keep(memoryview(data)[sent:])
            return
        self._waiting += data
        self._pause()

    def keep(self, rest: bytes | memoryview) -> None:
        """Write what the socket did not take, as soon as it does; nothing may wait already."""
        self._waiting = bytearray(rest)
        self._sockets.watch(self._fd, _IN | _OUT)
        self._pause()

    @property
    def waiting(self) -> bool:
        """Whether bytes wait for the socket."""
        return self._waiting is not None

    def close(self) -> None:
        """After all that was written."""
        if not self._closing:
            self._closing = True
            if self._waiting is None:
                self._end(None)
            else:
                self._sockets.watch(self._fd, _OUT)

    def abort(self) -> None:
        self._closing = True
        self._end(None)

    def is_closing(self) -> bool:
        return self._closing

    # -- what the sweep calls ---------------------------------------------------------------------

    def flush(self) -> None:
        """The socket takes bytes again."""
        waiting = self._waiting
        if waiting is None or self._gone:
            return
        try:
            del waiting[: self.send(waiting)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.fail(error)
            return
        if not waiting:
            self._waiting = None
            if self._closing:
                self._end(None)
                return
            self._sockets.watch(self._fd, _IN)
        if self._paused and not self._closing and len(waiting) <= HIGH_WATER // 4:
            self._paused = False
            self.protocol.resume_writing()

    def ended(self) -> None:
        """The other side will send nothing more."""
        if self._closing:  # only the last bytes are awaited to leave
            self._end(None)
        elif self.protocol.eof_received():
            self._sockets.watch(self._fd, 0 if self._waiting is None else _OUT)
        else:
            self.close()

    def crash(self, error: Exception) -> None:
        """Those above raised: told to the loop as an event loop's own transport does."""
        self._sockets.loop.call_exception_handler(
            {"message": "a connection's protocol raised", "exception": error, "transport": self}
        )
        self.fail(error)

    def fail(self, error: Exception) -> None:
        self._closing = True
        self._end(error)

    def _pause(self) -> None:
        assert self._waiting is not None
        if len(self._waiting) > HIGH_WATER and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def _end(self, error: Exception | None) -> None:
        if not self._gone:
            self._gone = True
            self._waiting = None
            self._sockets.forget(self._fd)
            # Never within a call of those above.
            self._sockets.loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        protocol, self.protocol = self.protocol, _NOBODY
        try:
            protocol.connection_lost(error)
        finally:
            self._sock.close()


_NOBODY = asyncio.Protocol()
"""Above a connection that is over: the circle of references is broken, so that its memory goes at
once."""
