"""Brokers as the command line names them: `mqtts://HOST:PORT`, `ws://HOST:PORT/PATH`."""

import re
from pathlib import Path
from typing import NamedTuple

from fleet_sim.cloud.target import TargetError
from fleet_sim.transport import LinkSettings, Tls, WebSocket

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_URL = re.compile(
    r"(?P<scheme>mqtts?|wss?)://(?P<host>[^/:@?#\[\]\s]+|\[[0-9a-fA-F:.]+\])"
    r"(:(?P<port>\d{1,5}))?(?P<path>/[\x21-\x7e]*)?"
)
BROKERS = "mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH, wss://HOST:PORT/PATH"
TARGETS = f"local, aws, embedded, {BROKERS}"


class Endpoint(NamedTuple):
    """A broker."""

    scheme: str
    host: str
    """Name or address, without brackets."""
    port: int
    path: str = ""
    """Of WebSockets: what the broker calls the place where it speaks MQTT."""

    @property
    def tls(self) -> bool:
        return self.scheme in ("mqtts", "wss")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    def identities(self, state_dir: Path) -> Path:
        """Folder of its vehicles' identities: the same for MQTT and WebSocket, and for all ports of
        a host."""
        return state_dir / "identities" / re.sub(r"[^A-Za-z0-9._-]", "_", self.host)

    def link(self) -> LinkSettings:
        """How to connect, without certificates of vehicles. A broker of one's own takes as many at
        once as it can."""
        return LinkSettings(
            host=self.host,
            port=self.port,
            tls=Tls() if self.tls else None,
            websocket=WebSocket(self.path) if self.scheme in ("ws", "wss") else None,
            connect_rate=2_000.0,
            connect_concurrency=256,
        )


def parse(target: str) -> Endpoint | None:
    """The broker that `target` names; None when it is no URL. `TargetError` when it is a wrong
    one."""
    if "://" not in target:
        return None
    match = _URL.fullmatch(target)
    port = int(match["port"] or _PORTS[match["scheme"]]) if match else 0
    if match is None or not 0 < port < 65_536:
        raise TargetError(f"--target: {target!r} is not known (allowed: {TARGETS})")
    scheme, path = match["scheme"], match["path"] or ""
    if scheme in ("mqtt", "mqtts"):
        if path not in ("", "/"):
            raise TargetError(
                f"--target: {target!r} has a path (allowed: {BROKERS}; only WebSockets have one)"
            )
        path = ""
    return Endpoint(scheme, match["host"].strip("[]"), port, path or _default_path(scheme))


def parse_all(target: str) -> list[Endpoint]:
    """The brokers that `target` names, separated by commas; none when it is no URL. `TargetError`
    when one is wrong, or when they are not alike."""
    found = []
    for part in target.split(","):
        endpoint = parse(part.strip())
        if endpoint is None:
            if "," in target:
                raise TargetError(f"--target: {part.strip()!r} is no broker (allowed: {BROKERS})")
            return []
        found.append(endpoint)
    if len(found) > 1 and any(endpoint.scheme != "mqtt" for endpoint in found):
        # Names in certificates and paths of WebSockets would have to be kept by broker.
        raise TargetError(
            f"--target: several brokers, {target} (allowed: mqtt://HOST:PORT,mqtt://HOST:PORT,…)"
        )
    if len(set(found)) < len(found):
        raise TargetError(f"--target: {target} names a broker twice (allowed: each once)")
    return found


def _default_path(scheme: str) -> str:
    return "/mqtt" if scheme in ("ws", "wss") else ""
