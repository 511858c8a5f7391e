"""MQTT topics and the rule that reads them."""

_PREFIX = "fleet/"
_SUFFIX = "/telemetry"

TELEMETRY_FILTER = "fleet/+/telemetry"

TELEMETRY_RULE_SQL = f"SELECT *, topic(2) AS thing, timestamp() AS iot_ms FROM '{TELEMETRY_FILTER}'"
"""The IoT rule's SQL (version 2016-03-23); `infra/` carries the same text, and a test compares."""


def telemetry_topic(thing: str) -> str:
    """Topic on which the thing named `thing` publishes its telemetry."""
    return f"{_PREFIX}{thing}{_SUFFIX}"


def thing_of_topic(topic: str) -> str:
    """Thing name of a telemetry topic; `ValueError` when it is not one."""
    thing = topic[len(_PREFIX) : -len(_SUFFIX)]
    if not topic.startswith(_PREFIX) or not topic.endswith(_SUFFIX) or not thing or "/" in thing:
        raise ValueError(f"not a telemetry topic: {topic!r} (allowed: {TELEMETRY_FILTER})")
    return thing
