"""MQTT connections of a shard's vehicles, swappable behind one Protocol."""

from fleet_sim.transport.base import ConnectError, Listener, RadioTransport, Transport
from fleet_sim.transport.choice import (
    TransportError,
    check_settings,
    check_transport,
    make_transport,
)
from fleet_sim.transport.memory import MemoryTransport
from fleet_sim.transport.native import NativeTransport
from fleet_sim.transport.settings import (
    KINDS,
    Certificate,
    Kind,
    LinkSettings,
    Secret,
    Tls,
    WebSocket,
    Will,
)

__all__ = [
    "KINDS",
    "Certificate",
    "ConnectError",
    "Kind",
    "LinkSettings",
    "Listener",
    "MemoryTransport",
    "NativeTransport",
    "RadioTransport",
    "Secret",
    "Tls",
    "Transport",
    "TransportError",
    "WebSocket",
    "Will",
    "check_settings",
    "check_transport",
    "make_transport",
]
