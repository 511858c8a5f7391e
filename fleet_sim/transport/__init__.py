"""MQTT connections of a shard's vehicles, swappable behind one Protocol."""

from fleet_sim.transport.base import ConnectError, LinkSettings, Listener, Transport
from fleet_sim.transport.memory import MemoryTransport
from fleet_sim.transport.native import NativeTransport

__all__ = [
    "ConnectError",
    "LinkSettings",
    "Listener",
    "MemoryTransport",
    "NativeTransport",
    "Transport",
]
