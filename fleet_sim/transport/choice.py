"""Which MQTT client a run's vehicles connect by."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from fleet_sim.transport.base import Listener, Transport
from fleet_sim.transport.native import NativeTransport
from fleet_sim.transport.settings import LinkSettings

Kind = Literal["native", "aiomqtt", "awscrt", "awscrt-sigv4"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_PACKAGES: dict[Kind, tuple[str, str]] = {
    "aiomqtt": ("aiomqtt", "aiomqtt"),
    "awscrt": ("awsiot", "awsiotsdk"),
    "awscrt-sigv4": ("awsiot", "awsiotsdk"),
}
"""What is imported, and what is installed for it."""


class TransportError(ValueError):
    """The transport cannot be had, or not with these settings; one line for a user."""


def check_transport(kind: Kind, settings: LinkSettings | None = None) -> None:
    """`TransportError` when the package of `kind` is missing, or cannot do what `settings` ask."""
    if kind in _PACKAGES:
        module, package = _PACKAGES[kind]
        if importlib.util.find_spec(module) is None:
            raise TransportError(
                f"--transport {kind}: {package} is not installed "
                f"(allowed: pip install {package}, or --transport native)"
            )
    if settings is None or kind == "native":
        return
    named = settings.tls is not None and settings.tls.server_name is not None
    lacks = {
        "topic aliases": settings.topic_alias,
        "a server name that is not the host's": named,
    }
    for what, asked in lacks.items():
        if asked:
            raise TransportError(f"--transport {kind}: cannot do {what} (allowed: native)")


def make_transport(
    kind: Kind,
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
    check_transport(kind, settings)
    if kind == "native":
        return NativeTransport(settings, client_ids, listener, now_ns=now_ns, uniform=uniform)
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
