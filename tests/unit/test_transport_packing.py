"""The hand-packed PUBLISH and the hand-read PUBACK against the codec."""

import mqtt5
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet_sim.transport import packing

_TOPICS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="#+"), min_size=1, max_size=60
)


@given(
    topic=_TOPICS,
    payload=st.binary(max_size=300),
    packet_id=st.integers(0, 65_535),
    duplicate=st.booleans(),
)
@example(topic="t", payload=b"x" * (127 - 6), packet_id=1, duplicate=False)
@example(topic="t", payload=b"x" * (128 - 6), packet_id=1, duplicate=False)
@example(topic="t", payload=b"x" * (16_383 - 6), packet_id=65_535, duplicate=True)
@example(topic="t", payload=b"x" * (16_384 - 6), packet_id=65_535, duplicate=True)
@example(topic="t", payload=b"x" * (2_097_152 - 6), packet_id=9, duplicate=False)
def test_a_publish_is_the_codecs_byte_for_byte(
    topic: str, payload: bytes, packet_id: int, duplicate: bool
) -> None:
    duplicate = duplicate and packet_id > 0
    packet = mqtt5.PublishPacket(
        topic,
        payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE if packet_id else mqtt5.QoS.AT_MOST_ONCE,
        packet_id=packet_id or None,
        duplicate=duplicate,
    )
    ours = packing.publish(packing.text(topic), payload, packet_id, b"\0", duplicate)
    assert ours == packet.write()


@given(
    expiry_s=st.none() | st.integers(0, 2**32 - 1),
    alias=st.none() | st.integers(1, 65_535),
    user=st.lists(st.tuples(_TOPICS, _TOPICS), max_size=4),
)
def test_so_are_its_properties(
    expiry_s: int | None, alias: int | None, user: list[tuple[str, str]]
) -> None:
    packet = mqtt5.PublishPacket(
        "t", b"x", message_expiry_interval=expiry_s, topic_alias=alias, user_properties=user
    )
    properties = packing.publish_properties(message_expiry_s=expiry_s, topic_alias=alias, user=user)
    assert packing.publish(packing.text("t"), b"x", 0, properties) == packet.write()


def test_reason_codes_of_a_puback_are_those_that_the_codec_takes() -> None:
    taken = set()
    for reason in range(256):
        try:
            mqtt5.read(memoryview(bytes((0x40, 3, 0, 1, reason))))
        except ValueError:
            continue
        taken.add(reason)
    assert taken == packing.PUBACK_REASONS


@pytest.mark.parametrize("value", [-1, 268_435_456])
def test_a_length_that_mqtt_cannot_say_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match=r"allowed: 0\.\.268435455"):
        packing.varint(value)


def test_a_text_longer_than_mqtt_can_say_is_refused() -> None:
    assert packing.text("é") == b"\0\2\xc3\xa9"
    with pytest.raises(ValueError, match="65536 bytes"):
        packing.text("x" * 65_536)
