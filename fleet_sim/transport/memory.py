"""A transport without a network: every message is acknowledged at once. For simulations of large
fleets, for measuring the engine by itself, and for tests."""

from collections import Counter, deque
from collections.abc import Callable, Iterable

from fleet_sim.transport.base import Listener
from fleet_sim.transport.settings import LinkSettings
from fleet_sim.vehicle import Message


class MemoryTransport:
    """Online from `open` on, save while the radio is gone; then it stores and forwards, and the
    oldest of `store_limit` messages of a vehicle gives way to one more.

    `deliver(i, message)` receives what a broker would; by default nobody does.
    """

    def __init__(
        self,
        vehicles: int,
        listener: Listener,
        *,
        now_ns: Callable[[], int],
        deliver: Callable[[int, Message], None] = lambda _i, _m: None,
        store_limit: int = LinkSettings._field_defaults["store_limit"],
    ) -> None:
        self.failures: Counter[str] = Counter()
        self.attempts = 0
        self._listener = listener
        self._now_ns = now_ns
        self._deliver = deliver
        self._online = bytearray(vehicles)
        self._held = bytearray(vehicles)
        self._stored: dict[int, deque[Message]] = {}
        self._store_limit = store_limit

    def open(self, i: int) -> None:
        if not self._held[i]:
            self.attempts += 1
            self._online[i] = 1
            self._listener.on_online(i)
            for message in self._stored.pop(i, ()):
                self._send(i, message)

    def publish(self, i: int, message: Message) -> None:
        if self._online[i]:
            self._send(i, message)
        else:
            stored = self._stored.setdefault(i, deque())
            stored.append(message)
            if len(stored) > self._store_limit:
                self._listener.on_evicted(stored.popleft().token)

    def publish_many(self, vehicles: Iterable[int], messages: Iterable[Message]) -> None:
        for i, message in zip(vehicles, messages, strict=True):
            self.publish(i, message)

    def sever(self, i: int, reason: str) -> None:
        self._held[i] = 1
        if self._online[i]:
            self._online[i] = 0
            self.failures[reason] += 1
            self._listener.on_offline(i, reason)

    def restore(self, i: int) -> None:
        if self._held[i]:
            self._held[i] = 0
            self.open(i)

    def backlog(self) -> tuple[int, int]:
        return 0, sum(map(len, self._stored.values()))

    def discard(self) -> list[Message]:
        stored = [message for queue in self._stored.values() for message in queue]
        self._stored.clear()
        return stored

    def stranded(self) -> list[Message]:
        return []

    async def close(self, timeout_s: float) -> list[Message]:
        return self.discard()

    def _send(self, i: int, message: Message) -> None:
        t_ns = self._now_ns()
        self._listener.on_sent(message.token, t_ns, False)
        self._deliver(i, message)
        if message.qos:
            self._listener.on_acknowledged(message.token, t_ns, 0)
