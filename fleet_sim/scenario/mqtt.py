"""How vehicles speak MQTT: the part `mqtt` of a scenario, and the rules that a type cannot say.

Which broker it is does not belong to the scenario: the command line says that.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from fleet_sim.scenario.problems import Path
from fleet_sim.scenario.strict import Strict
from fleet_sim.scenario.units import Duration, shown

MAX_TEXT = 65_535
"""Bytes of a text in MQTT (MQTT 5, 1.5.4)."""
SECRET_FILE = "file:"
"""Begins a secret's source that is a file."""

_TEXT = r"^[^\x00-\x1f\x7f]*$"
_TEXT_RULE = "text of one line"
_TOPIC = r"^[^\x00-\x1f\x7f#+]+$"
_SECRET = r"^(?:\$\{[A-Za-z_][A-Za-z0-9_]*\}|file:[^\x00-\x1f]+)$"
_FILE = r"^[^\x00-\x1f]+$"

Text = Annotated[str, Meta(pattern=_TEXT, max_length=8_000, extra={"allowed": _TEXT_RULE})]
Topic = Annotated[
    str,
    Meta(pattern=_TOPIC, max_length=8_000, extra={"allowed": "a topic: text without # and +"}),
]
SecretSource = Annotated[
    str,
    Meta(
        pattern=_SECRET,
        extra={
            "allowed": "'${NAME}', an environment variable, or file:PATH, whose text it is; "
            "never the secret itself"
        },
    ),
]
File = Annotated[str, Meta(pattern=_FILE, extra={"allowed": "the path of a file"})]
Protocol = Annotated[
    str,
    Meta(pattern=r"^[\x21-\x7e]{1,255}$", extra={"allowed": "a protocol's name, 1 to 255 letters"}),
]

KeepAlive = Annotated[Duration, Meta(extra={"max": Duration(65_535)})]
BackoffTime = Annotated[
    Duration, Meta(extra={"min": Duration.parse("1ms"), "max": Duration(3_600)})
]
Seconds = Annotated[Duration, Meta(extra={"max": Duration(365 * 86_400)})]


class Will(Strict, frozen=True, kw_only=True):
    """What the broker publishes for a vehicle that is gone without a goodbye."""

    topic: Topic | None = None
    """Where; `{vin}` stands for the vehicle's. Unset: there is no will."""
    payload: Text = "offline"
    """What; `{vin}` as well."""
    qos: Literal[0, 1] = 0
    """Quality of service with which the broker publishes it."""
    retain: bool = False
    """Whether the broker keeps it for those who subscribe later."""
    delay_s: Seconds = field(name="delay", default=Duration(0))
    """The broker waits so long for the vehicle to come back, whole seconds."""


class TlsOptions(Strict, frozen=True, kw_only=True):
    """TLS, where the target has it."""

    ca: File | None = None
    """PEM file of who vouches for the broker, relative to the scenario's folder; unset: what the
    target says, else the system's."""
    server_name: Text | None = None
    """Name that the broker's certificate must carry, and that it is asked for; unset: the host."""
    alpn: Annotated[tuple[Protocol, ...], Meta(max_length=8)] | None = None
    """Protocols offered in the handshake; unset: `x-amzn-mqtt-ca` to AWS IoT at port 443, else
    none."""
    resumption: bool = True
    """Whether a vehicle returns with a session ticket, which saves both sides most of the
    handshake."""


class Reconnect(Strict, frozen=True, kw_only=True):
    """When a vehicle that lost its connection tries again: after the n-th failure in a row within a
    window of `base` × 2ⁿ, `cap` at most."""

    base_s: BackoffTime = field(name="base", default=Duration(1))
    """The first window."""
    cap_s: BackoffTime = field(name="cap", default=Duration(128))
    """The longest window."""
    jitter: Literal["full", "none", "decorrelated"] = "full"
    """`full`: any time in the window; `none`: at its end, all vehicles at once; `decorrelated`:
    between `base` and three times the wait before."""
    reset_after_s: Seconds = field(name="reset_after", default=Duration(20))
    """Connected for so long, a vehicle begins again with the first window."""


class Mqtt(Strict, frozen=True, kw_only=True):
    """How vehicles speak MQTT 5 to whatever broker the run goes to."""

    keep_alive_s: KeepAlive = field(name="keep_alive", default=Duration(60))
    """Longest silence of a vehicle, whole seconds; the broker may ask for less. 0s: no limit."""
    session_expiry_s: Seconds = field(name="session_expiry", default=Duration(3_600))
    """How long the broker keeps a session whose connection is gone, whole seconds."""
    clean_start: Literal["first", "always", "never"] = "first"
    """Which connections begin without what the broker kept: a vehicle's first one, all, or none."""
    in_flight: Annotated[int, Meta(ge=1, le=65_535)] = 64
    """QoS 1 messages of a vehicle that may wait for their acknowledgement; the broker may allow
    fewer."""
    receive_maximum: Annotated[int, Meta(ge=1, le=65_535)] = 65_535
    """QoS 1 messages that the broker may have under way to a vehicle."""
    topic_alias: bool = False
    """Whether a topic is said once a connection and is a number afterwards, where the broker takes
    that."""
    message_expiry_s: Seconds | None = field(name="message_expiry", default=None)
    """The broker drops a message that nobody took for so long, whole seconds; unset: never."""
    username: Text | None = None
    """Said in CONNECT; `{vin}` stands for the vehicle's."""
    password: SecretSource | None = None
    """Where the password is: `${NAME}` is an environment variable, `file:PATH` a file, relative to
    the scenario's folder. It is written nowhere."""
    user_properties: dict[str, Text] = field(default_factory=dict)
    """Name to value, sent with CONNECT and every message; `{vin}` in the value."""
    store: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    """Messages that a vehicle keeps while it cannot send them; beyond that the oldest gives way."""
    reconnect: Reconnect = field(default_factory=Reconnect)
    """When a vehicle that lost its connection tries again."""
    will: Will = field(default_factory=Will)
    """What the broker publishes for a vehicle that is gone without a goodbye."""
    tls: TlsOptions = field(default_factory=TlsOptions)
    """TLS, where the target has it."""


def check_mqtt(mqtt: Mqtt) -> Iterator[tuple[Path, str]]:
    """What does not fit: the path of the field, and one line that says why."""
    whole: tuple[tuple[Path, Duration | None], ...] = (
        (("keep_alive",), mqtt.keep_alive_s),
        (("session_expiry",), mqtt.session_expiry_s),
        (("message_expiry",), mqtt.message_expiry_s),
        (("will", "delay"), mqtt.will.delay_s),
    )
    for path, duration in whole:
        if duration is not None and not float(duration).is_integer():
            yield ("mqtt", *path), f"{duration} is not allowed (allowed: whole seconds)"
    if mqtt.message_expiry_s is not None and not mqtt.message_expiry_s:
        yield (
            ("mqtt", "message_expiry"),
            "0s is not allowed: no message would arrive (allowed: 1s or more, or unset)",
        )
    if mqtt.reconnect.cap_s < mqtt.reconnect.base_s:
        yield (
            ("mqtt", "reconnect", "cap"),
            f"{mqtt.reconnect.cap_s} is not allowed (allowed: base, {mqtt.reconnect.base_s}, or "
            "more)",
        )
    for name, value in mqtt.user_properties.items():
        if not name or max(len(name.encode()), len(value.encode())) > MAX_TEXT:
            yield (
                ("mqtt", "user_properties", name),
                f"{shown(name)} is not allowed (allowed: a name, and at most {MAX_TEXT} bytes)",
            )
