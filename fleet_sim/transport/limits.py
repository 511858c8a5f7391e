"""What a broker says in CONNACK that it does not take (MQTT 5, 3.2.2.3)."""

from typing import NamedTuple

import mqtt5


class Limits(NamedTuple):
    """Of one connection."""

    max_packet_size: int | None
    """Bytes of a whole packet."""
    max_qos: int

    def refuses(self, size: int, qos: int) -> str:
        """Why a PUBLISH of `size` bytes must not be sent; empty when it may."""
        if qos > self.max_qos:
            return f"QoS {qos}, and the broker takes {self.max_qos} at most"
        if self.max_packet_size is not None and size > self.max_packet_size:
            return f"larger than the {self.max_packet_size} bytes that the broker takes"
        return ""


def limits_of(connack: mqtt5.ConnAckPacket) -> Limits | None:
    """None when there are none for messages of QoS 0 and 1."""
    if connack.max_packet_size is None and connack.max_qos != mqtt5.QoS.AT_MOST_ONCE:
        return None
    return Limits(connack.max_packet_size, int(connack.max_qos))
