"""Who a publish is delivered to, and how without waiting."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Scope = tuple[str, str]
"""Account id and region."""
Deliver = Callable[[str, bytes, int], Awaitable[None]]

_QUEUED_MESSAGES = 1000
log = logging.getLogger("fleet_sim.local.broker")


class Recipient(Protocol):
    """A session that takes a message without waiting."""

    def deliver_now(
        self, topic: str, payload: bytes, qos: int, properties: bytes, retain: bool
    ) -> None: ...


class Subscription:
    """One filter of one client."""

    __slots__ = (
        "client_id",
        "deliver",
        "granted_qos",
        "identifier",
        "keeps_retain",
        "recipient",
        "scope",
        "topic_filter",
    )

    def __init__(
        self,
        scope: Scope,
        topic_filter: str,
        deliver: Deliver,
        recipient: Recipient,
        granted_qos: int,
        client_id: str | None,
        keeps_retain: bool,
    ) -> None:
        self.identifier = uuid.uuid4().hex
        self.scope = scope
        self.topic_filter = topic_filter
        self.deliver = deliver
        self.recipient = recipient
        self.granted_qos = granted_qos
        self.client_id = client_id
        self.keeps_retain = keeps_retain


class Outbox:
    """Deliveries to a session that can only be awaited: queued, in order, the oldest given up."""

    def __init__(self, deliver: Deliver, iot: Any) -> None:
        self._deliver = deliver
        self._iot = iot
        self._queue: deque[tuple[str, bytes, int, bytes, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def deliver_now(
        self, topic: str, payload: bytes, qos: int, properties: bytes, retain: bool
    ) -> None:
        if len(self._queue) >= _QUEUED_MESSAGES:
            self._queue.popleft()
            self.dropped += 1
            if self.dropped == 1 or self.dropped % _QUEUED_MESSAGES == 0:
                log.warning("a slow subscriber lost %d messages", self.dropped)
        self._queue.append((topic, payload, qos, properties, retain))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        while self._queue:
            topic, payload, qos, properties, retain = self._queue.popleft()
            # A task has its own context: nothing to reset.
            self._iot._delivery_properties.set(properties)
            self._iot._delivery_retain.set(retain)
            try:
                await self._deliver(topic, payload, qos)
            except Exception:
                log.exception("delivery to a subscriber of %s failed", topic)
