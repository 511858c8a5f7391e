"""Which MQTT client a run's vehicles connect by."""

import importlib.util
from collections.abc import Callable, Sequence

from fleet_sim.transport.base import Listener, Transport
from fleet_sim.transport.memory import MemoryTransport
from fleet_sim.transport.native import NativeTransport
from fleet_sim.transport.settings import Kind, LinkSettings

_PACKAGES: dict[Kind, tuple[str, str]] = {
    "aiomqtt": ("aiomqtt", "aiomqtt"),
    "awscrt": ("awsiot", "awsiotsdk"),
    "awscrt-sigv4": ("awsiot", "awsiotsdk"),
}
"""What is imported, and what is installed for it."""


class TransportError(ValueError):
    """The transport cannot be had, or not with these settings; one line for a user."""


def check_transport(kind: Kind) -> None:
    """`TransportError` when the package of `kind` is missing."""
    if kind in _PACKAGES:
        module, package = _PACKAGES[kind]
        if importlib.util.find_spec(module) is None:
            raise TransportError(
                f"--transport {kind}: {package} is not installed "
                f"(allowed: pip install {package}, or --transport native)"
            )


def check_settings(settings: LinkSettings) -> None:
    """`TransportError` when its client cannot do what `settings` ask."""
    if settings.transport in ("native", "memory"):
        return
    named = settings.tls is not None and settings.tls.server_name is not None
    lacks = {
        "topic aliases": settings.topic_alias,
        "a server name that is not the host's": named,
        "several brokers": bool(settings.more),
        "source addresses": bool(settings.source_ips) and settings.transport != "aiomqtt",
    }
    for what, asked in lacks.items():
        if asked:
            raise TransportError(
                f"--transport {settings.transport}: cannot do {what} (allowed: native)"
            )


def make_transport(
    settings: LinkSettings,
    client_ids: Sequence[str],
    listener: Listener,
    *,
    now_ns: Callable[[], int],
    uniform: Callable[[], float],
) -> Transport:
    """A transport of the vehicles `client_ids`, on the running event loop.

    `now_ns` gives ns since the epoch for what is told to `listener`, `uniform` draws the jitter.
    Raises `TransportError`.
    """
    kind = settings.transport
    if kind == "native":
        return NativeTransport(settings, client_ids, listener, now_ns=now_ns, uniform=uniform)
    if kind == "memory":
        return MemoryTransport(
            len(client_ids), listener, now_ns=now_ns, store_limit=settings.store_limit
        )
    check_transport(kind)
    check_settings(settings)
    # Imported here: the packages are optional, and slow to load.
    if kind == "aiomqtt":
        from fleet_sim.transport.aio import AioTransport

        return AioTransport(settings, client_ids, listener, now_ns=now_ns, uniform=uniform)
    from fleet_sim.transport.crt import CrtTransport

    return CrtTransport(
        settings,
        client_ids,
        listener,
        now_ns=now_ns,
        uniform=uniform,
        sigv4=kind == "awscrt-sigv4",
    )
