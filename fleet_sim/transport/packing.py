"""PUBLISH and PUBACK by hand: the two packets that a load consists of.

The `mqtt5` codec does everything else, and is what the tests hold this module against. Without its
packet objects a PUBLISH costs half, and a PUBACK a fifth.
"""

from collections.abc import Sequence
from struct import Struct

PUBACK = 0x40
"""First byte of a PUBACK."""
PUBACK_REASONS = frozenset((0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99))
"""Those that there are (MQTT 5, 3.4.2.1)."""

_PUBLISH = 0x30
_DUPLICATE = 0x08
_short = Struct(">BB").pack
_medium = Struct(">BBB").pack
_id = Struct(">H").pack
MAX_REMAINING = 268_435_455


def varint(value: int) -> bytes:
    """Variable byte integer (MQTT 5, 1.5.5); `ValueError` above 268,435,455."""
    if not 0 <= value <= MAX_REMAINING:
        raise ValueError(f"MQTT length: {value} (allowed: 0..{MAX_REMAINING})")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str) -> bytes:
    """A UTF-8 string with its length before it (MQTT 5, 1.5.4)."""
    data = value.encode()
    if len(data) > 0xFFFF:
        raise ValueError(f"MQTT text: {len(data)} bytes (allowed: at most 65535)")
    return _id(len(data)) + data


def publish_properties(
    *,
    message_expiry_s: int | None = None,
    topic_alias: int | None = None,
    user: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Properties of a PUBLISH (MQTT 5, 3.3.2.3) with their length before them."""
    block = b""
    if message_expiry_s is not None:
        block += b"\x02" + message_expiry_s.to_bytes(4, "big")
    if topic_alias is not None:
        block += b"\x23" + _id(topic_alias)
    for name, value in user:
        block += b"\x26" + text(name) + text(value)
    return varint(len(block)) + block


def publish(
    topic: bytes, payload: bytes, packet_id: int, properties: bytes, duplicate: bool = False
) -> bytes:
    """A PUBLISH packet: QoS 1 with a `packet_id` above 0, else QoS 0.

    `topic` is what `text` gives, `properties` what `publish_properties` does.
    """
    remaining = len(topic) + len(properties) + len(payload)
    first = _PUBLISH
    if packet_id:
        remaining += 2
        first = 0x3A if duplicate else 0x32
    if remaining < 0x80:
        head = _short(first, remaining)
    elif remaining < 0x4000:
        head = _medium(first, remaining & 0x7F | 0x80, remaining >> 7)
    else:
        head = bytes((first,)) + varint(remaining)
    if packet_id:
        return b"".join((head, topic, _id(packet_id), properties, payload))
    return b"".join((head, topic, properties, payload))
