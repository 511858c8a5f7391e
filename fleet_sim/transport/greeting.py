"""From CONNECT to being online: what the broker answers, and what follows from it."""

from typing import TYPE_CHECKING

import mqtt5

from fleet_sim.transport.reasons import code, goodbye, refusal
from fleet_sim.transport.settings import LinkSettings, connect_packet, of_vehicle

if TYPE_CHECKING:
    from fleet_sim.transport.link import Link

_QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE)


class Greeting:
    """Of one connection of the vehicle `vin`, over `link`, which is told the outcome: `accept`, or
    `fail`. It begins when it is made; `fresh` when no broker ever accepted the vehicle."""

    __slots__ = ("_connack", "_link", "_settings", "_vin")

    def __init__(self, link: "Link", settings: LinkSettings, vin: str, *, fresh: bool) -> None:
        self._link = link
        self._settings = settings
        self._vin = vin
        self._connack: mqtt5.ConnAckPacket | None = None  # while SUBACK is awaited
        link.write(connect_packet(settings, vin, first=fresh).write())

    def take(self, packet: mqtt5.Packet) -> None:
        """What the broker says before the vehicle is online."""
        if type(packet) is mqtt5.DisconnectPacket:
            self._link.fail(goodbye(packet, self._vin))
        elif self._connack is not None:
            self._subscribed(packet, self._connack)
        elif type(packet) is mqtt5.ConnAckPacket:
            self._connected(packet)
        else:
            self._link.fail(f"{type(packet).__name__} from the broker before CONNACK")

    def _connected(self, packet: mqtt5.ConnAckPacket) -> None:
        if packet.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            self._link.fail(refusal(packet, self._vin))
            return
        if self._link.handshake.done():  # severed or out of time in this very turn of the loop
            return
        subscriptions = self._settings.subscriptions
        if not subscriptions or packet.session_present:
            self._link.accept(packet)
            return
        self._connack = packet
        filters = [
            mqtt5.TopicFilter(of_vehicle(topic, self._vin), max_qos=_QOS[qos])
            for topic, qos in subscriptions
        ]
        # Nothing is sent before its answer, so no packet id of ours is in use.
        self._link.write(mqtt5.SubscribePacket(1, filters).write())

    def _subscribed(self, packet: mqtt5.Packet, connack: mqtt5.ConnAckPacket) -> None:
        if type(packet) is mqtt5.PublishPacket:  # a retained message may be faster
            self._link.inbound(packet)
            return
        if type(packet) is not mqtt5.SubAckPacket:
            self._link.fail(f"{type(packet).__name__} from the broker before SUBACK")
            return
        refused = [answer for answer in packet.reason_codes if int(answer) >= 0x80]
        if refused:
            self._link.fail(f"subscription refused by the broker: {code(refused[0])}")
        elif not self._link.handshake.done():
            self._link.accept(connack)
