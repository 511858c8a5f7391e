"""How vehicles connect: the endpoint, TLS, WebSocket, and what they say in CONNECT and PUBLISH.

Plain values that travel to other processes; what depends on the vehicle is either a sequence by
index or a text in which `{vin}` stands for its VIN.
"""

import ssl
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import mqtt5

from fleet_sim.vehicle import Backoff

CleanStart = Literal["first", "always", "never"]
Kind = Literal["native", "aiomqtt", "awscrt", "awscrt-sigv4", "memory"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Secret:
    """A text that no `repr`, log or traceback shows."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class Certificate(NamedTuple):
    """PEM files of one vehicle; they may be one and the same."""

    cert_file: str
    """The certificate, then those that lead to its CA, if any."""
    key_file: str


class Tls(NamedTuple):
    """TLS 1.2 or newer, with a server that is always verified."""

    ca_file: str | None = None
    """PEM file of who may vouch for the broker; None is the system's trust store."""
    certificates: Sequence[Certificate] = ()
    """By vehicle; none when the broker knows vehicles by other means."""
    server_name: str | None = None
    """Name that the broker's certificate must carry; default: the host."""
    alpn: tuple[str, ...] = ()
    """Protocols offered, best first (RFC 7301)."""
    resumption: bool = True
    """Return with a session ticket, which saves both sides the signatures of a full handshake."""

    def context(self) -> ssl.SSLContext:
        """A context with all but the certificate. `OSError` when the CA file cannot be read."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.alpn:
            context.set_alpn_protocols(list(self.alpn))
        return context

    def context_of(self, i: int) -> ssl.SSLContext:
        """A context of its own for vehicle i. `OSError` when its files cannot be read or do not
        belong together."""
        context = self.context()
        if self.certificates:
            context.load_cert_chain(*self.certificates[i])
        return context


class WebSocket(NamedTuple):
    """MQTT in binary messages of a WebSocket (MQTT 5, section 6)."""

    path: str = "/mqtt"
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with the upgrade, beside those that the protocol asks for."""


class Will(NamedTuple):
    """What the broker publishes for a vehicle that goes without saying goodbye."""

    topic: str
    payload: str
    qos: int = 0
    retain: bool = False
    delay_s: int = 0
    """The broker waits so long for it to come back."""


class LinkSettings(NamedTuple):
    """How every vehicle of a shard connects. Texts in which `{vin}` may stand are marked so."""

    host: str
    port: int
    transport: Kind = "native"
    """The client that speaks MQTT: ours, or a library's; `memory` connects to nothing, and every
    message is acknowledged at once."""
    tls: Tls | None = None
    """None connects in the clear."""
    websocket: WebSocket | None = None
    """None speaks MQTT on the bare connection."""
    username: str | None = None
    """`{vin}`."""
    password: Secret | None = None
    keepalive_s: int = 60
    """0 switches it off."""
    session_expiry_s: int = 3_600
    """Longer than any outage here, so that QoS 1 messages outlive a reconnect at the broker."""
    clean_start: CleanStart = "first"
    """Which connections of a vehicle begin without what the broker kept of it."""
    receive_maximum: int = 65_535
    """QoS 1 messages that the broker may have under way to a vehicle."""
    topic_alias: bool = False
    """Say the topic once a connection and a number afterwards, where the broker takes it."""
    message_expiry_s: int | None = None
    """The broker may drop a message that nobody took for so long."""
    user_properties: tuple[tuple[str, str], ...] = ()
    """Of CONNECT and of every PUBLISH; `{vin}` in the values."""
    will: Will | None = None
    """`{vin}` in topic and payload."""
    subscriptions: tuple[tuple[str, int], ...] = ()
    """Topic filters, with `{vin}`, and their QoS. A vehicle is online when the broker has them."""
    connect_timeout_s: float = 15.0
    connect_rate: float = 200.0
    """Vehicles a second over the shard that connect for the first time. Those that come back do so
    when their backoff says."""
    connect_concurrency: int = 32
    """Handshakes under way at once; more only queue in the broker's accept backlog."""
    source_ips: Sequence[str] = ()
    """Addresses to connect from, vehicles in turn; none leaves it to the system. Each address has
    as many connections to a broker as there are ephemeral ports."""
    window: int = 64
    store_limit: int = 1_000
    backoff: Backoff = Backoff()
    more: tuple[tuple[str, int], ...] = ()
    """Host and port of further brokers of a cluster: vehicles take them in turn, and each comes
    back to its own."""

    def broker(self, i: int) -> tuple[str, int]:
        """Host and port of vehicle i's broker."""
        at = i % (1 + len(self.more))
        return self.more[at - 1] if at else (self.host, self.port)


class Hello(NamedTuple):
    """What one vehicle says of itself in CONNECT; all else in it is the same for all of them."""

    username: str | None
    password: str | None
    clean_start: bool
    user_properties: list[tuple[str, str]]
    will: Will | None


def hello(settings: LinkSettings, vin: str, *, first: bool) -> Hello:
    """Of the vehicle `vin`; `first` when no broker ever accepted it."""
    will = settings.will
    if will is not None:
        will = will._replace(
            topic=of_vehicle(will.topic, vin), payload=of_vehicle(will.payload, vin)
        )
    return Hello(
        None if settings.username is None else of_vehicle(settings.username, vin),
        None if settings.password is None else settings.password.text,
        starts_clean(settings, first=first),
        user_properties(settings, vin),
        will,
    )


def connect_packet(settings: LinkSettings, vin: str, *, first: bool) -> mqtt5.ConnectPacket:
    """CONNECT of the vehicle `vin`; `first` when no broker ever accepted it."""
    username, password, clean_start, pairs, will = hello(settings, vin, first=first)
    return mqtt5.ConnectPacket(
        vin,
        username=username,
        password=None if password is None else password.encode(),
        clean_start=clean_start,
        keep_alive=settings.keepalive_s,
        session_expiry_interval=settings.session_expiry_s,
        receive_max=settings.receive_maximum,
        user_properties=pairs,
        will=will
        and mqtt5.Will(
            will.topic,
            payload=will.payload.encode(),
            qos=mqtt5.QoS(will.qos),
            retain=will.retain,
            will_delay_interval=will.delay_s,
        ),
    )


def starts_clean(settings: LinkSettings, *, first: bool) -> bool:
    """Whether this connection begins without what the broker kept; `first` as above."""
    clean = settings.clean_start
    return clean == "always" or (clean == "first" and first)


def user_properties(settings: LinkSettings, vin: str) -> list[tuple[str, str]]:
    """User properties of a vehicle's packets."""
    return [(name, of_vehicle(value, vin)) for name, value in settings.user_properties]


def of_vehicle(text: str, vin: str) -> str:
    """`text` with the VIN in its place."""
    return text.replace("{vin}", vin)
