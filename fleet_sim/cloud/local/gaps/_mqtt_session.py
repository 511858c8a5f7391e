"""One MQTT session of the listener: MiniStack's protocol logic over a transport that never waits.

MiniStack's session class answers CONNECT, SUBSCRIBE, the IoT Jobs and shadow topics and the rest;
this subclass changes how messages leave: straight into the transport's bounded buffer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any

from fleet_sim.cloud.local.gaps import _seam

MAX_IN_FLIGHT = 100
"""AWS IoT: unacknowledged QoS 1 messages to one client."""
MAX_BACKLOG = 1000
HIGH_WATER_BYTES = 256 * 1024
POLICY_SECONDS = 2.0
"""How long a policy decision is reused; on AWS a changed policy takes minutes to reach a client."""

log = logging.getLogger("fleet_sim.local.mqtt")
_MQTT_5 = 5


class Dropped:
    """Messages that no slow subscriber could be given, over all sessions."""

    count = 0

    @classmethod
    def one(cls, client_id: str) -> None:
        cls.count += 1
        if cls.count == 1 or cls.count % 1000 == 0:
            log.warning(
                "slow subscribers lost %d messages, the last of them %s", cls.count, client_id
            )


def session_class() -> type[Any]:
    """The session class, made from MiniStack's (which can only be imported once configured)."""
    iot = _seam.service("iot")
    stock = iot._WSSession
    _seam.expect_parameters(
        stock.__init__, "self", "send_coro", "account_id", "region", "principal"
    )
    _seam.expect(
        stock,
        "_alloc_packet_id",
        "_ensure_retransmit_timer",
        "_policy_allows",
        "_preserve_session",
        "_publish_properties",
        "cleanup",
        "deliver_to_client",
        "handle_packet",
        "send_bytes",
    )
    _seam.expect(
        iot,
        "_InFlightMessage",
        "_make_publish",
        "_delivery_properties",
        "_delivery_retain",
        "_persistent_sessions",
    )

    class Session(stock):  # type: ignore[misc, valid-type]  # untyped base
        def __init__(
            self, transport: asyncio.Transport, account_id: str, region: str, certificate_id: str
        ) -> None:
            super().__init__(self._asgi_send, account_id, region, certificate_id)
            self.certificate_id = certificate_id
            self.enforces = _seam.application().AUTH
            self.window = MAX_IN_FLIGHT
            self._transport = transport
            self._backlog: deque[tuple[str, bytes, bytes, bool]] = deque()
            self._verdicts: dict[tuple[str, str], tuple[float, bool]] = {}

        async def _asgi_send(self, message: dict[str, Any]) -> None:
            # The two ASGI messages the base class sends.
            if message["type"] == "websocket.close":
                self._transport.close()
            else:
                self._transport.write(message["bytes"])

        async def send_bytes(self, data: bytes) -> None:
            self._transport.write(data)

        def allowed(self, action: str, resource: str) -> bool:
            """The policies' verdict, at most `POLICY_SECONDS` old."""
            if not self.enforces:
                return True
            now = time.monotonic()
            known = self._verdicts.get((action, resource))
            if known is None or known[0] < now:
                verdict = bool(self._policy_allows(action, resource))
                known = self._verdicts[action, resource] = (now + POLICY_SECONDS, verdict)
            return known[1]

        def deliver_now(
            self, topic: str, payload: bytes, qos: int, properties: bytes, retain: bool
        ) -> None:
            if not self.allowed("iot:Receive", f"topic/{topic}"):
                return
            if qos:
                if self._backlog or not self._has_room():
                    if len(self._backlog) >= MAX_BACKLOG:
                        self._backlog.popleft()
                        Dropped.one(self._client_id)
                    self._backlog.append((topic, payload, properties, retain))
                else:
                    self._send_qos1(topic, payload, properties, retain)
            elif self._transport.get_write_buffer_size() > HIGH_WATER_BYTES:
                Dropped.one(self._client_id)
            else:
                self._transport.write(
                    iot._make_publish(
                        topic,
                        payload,
                        qos=0,
                        retain=retain,
                        properties=self._publish_properties(properties),
                    )
                )

        async def deliver_to_client(self, topic: str, payload: bytes, qos: int) -> None:
            self.deliver_now(
                topic, payload, qos, iot._delivery_properties.get(), iot._delivery_retain.get()
            )

        def acknowledged(self, packet_id: int) -> None:
            self._in_flight.pop(packet_id, None)
            self.flush()

        def flush(self) -> None:
            """Sends what waited for acknowledgements, or for the client to read."""
            while self._backlog and self._has_room():
                self._send_qos1(*self._backlog.popleft())

        def _has_room(self) -> bool:
            return (
                len(self._in_flight) < self.window
                and self._transport.get_write_buffer_size() <= HIGH_WATER_BYTES
            )

        def _send_qos1(self, topic: str, payload: bytes, properties: bytes, retain: bool) -> None:
            packet_id = self._alloc_packet_id()
            self._in_flight[packet_id] = iot._InFlightMessage(
                packet_id, topic, payload, properties, retain
            )
            self._transport.write(
                iot._make_publish(
                    topic,
                    payload,
                    qos=1,
                    packet_id=packet_id,
                    retain=retain,
                    properties=self._publish_properties(properties),
                )
            )
            self._ensure_retransmit_timer()

        def _preserve_session(self) -> None:
            super()._preserve_session()
            kept = iot._persistent_sessions[self.account_id, self.region, self._client_id]
            now = time.time()
            for topic, payload, properties, _retain in self._backlog:
                kept.queued_messages.append((topic, payload, 1, properties, now))
            self._backlog.clear()

    return Session


def connect_options(body: bytes) -> tuple[int, int]:
    """(protocol level, keep-alive seconds as requested) of a CONNECT packet's body."""
    name_length = int.from_bytes(body[:2])
    level = body[2 + name_length]
    return level, int.from_bytes(body[4 + name_length : 6 + name_length])


def receive_maximum(body: bytes) -> int:
    """The Receive Maximum an MQTT 5 CONNECT names, at most `MAX_IN_FLIGHT`."""
    level, _ = connect_options(body)
    if level != _MQTT_5:
        return MAX_IN_FLIGHT
    iot = _seam.service("iot")
    properties, _ = iot._decode_properties(body, 6 + int.from_bytes(body[:2]))
    named = iot._property_value(properties, iot.PROP_RECEIVE_MAXIMUM, MAX_IN_FLIGHT)
    return min(MAX_IN_FLIGHT, int(named))
