"""Limits of this machine, and of the way to the target, that a run would hit, found before it
starts. Each failing check names the limit, the figure and the remedy in one line."""

import email.utils
import http.client
import ipaddress
import math
import os
import re
import resource
import socket
import ssl
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from fleet_sim.scenario import Scenario
from fleet_sim.transport import ConnectError, LinkSettings
from fleet_sim.world import City, Share, Simulated, World, build_cities, simulate
from fleet_sim.world.towns import town_count

SPARE_DESCRIPTORS = 256
"""Log files, the event loop, HTTP connections to the cloud, certificates while they are read."""
BASE_MB, VEHICLE_KB, MESSAGE_B = 110.0, 24.0, 200.0
"""Memory of a process, and of a vehicle in it (measured: `docs/scaling.md`); of a message of the
schedule: 35 bytes in the ledger, the rest while the audit sorts and compares (assumption)."""
MAX_SHARDS = 256
MAX_SOURCES = 4096
TIMEOUT_S = 15.0
CLOCK_ALLOWED_S = 2.0
"""Latencies from this machine's clock to the cloud's are wrong by their offset, which HTTP dates
tell to within a second."""


class PreflightError(RuntimeError):
    """A limit is too low; the message names it and the remedy."""


def check_client(transport: str, target: str) -> None:
    """`PreflightError` when the cloud of `target` would get nothing from the vehicles' client."""
    if transport == "memory" and target in ("local", "aws", "aws:443"):
        raise PreflightError(
            f"--transport memory: it sends nothing, and {target} would have lost all of it "
            "(allowed: with --broker embedded, or --target mqtt://HOST:PORT)"
        )


def check_encodings(scenario: Scenario, target: str, name: str) -> None:
    """`PreflightError` for telemetry that the cloud of `target` does not read."""
    if target not in ("local", "aws"):
        return
    for i, group in enumerate(scenario.fleet):
        encoding = group.telemetry.encoding
        if encoding != "json":
            raise PreflightError(
                f"{name}: fleet[{i}].telemetry.encoding: {encoding!r} is not allowed with --target "
                f"{target} (allowed: json; or a broker, such as --broker embedded)"
            )


def build_world(scenario: Scenario, name: str) -> World:
    """The scenario's world; `PreflightError`, in the name of `name`, when it does not fit."""
    if town_count(scenario) > 1:
        raise PreflightError(
            f"{name}: city.generate.towns: {town_count(scenario)} towns are for `run` only "
            "(allowed here: 1; `--set city.generate.towns=1`)"
        )
    try:
        return World(scenario)
    except ValueError as error:
        raise PreflightError(f"{name}: {error}") from None


def build_share(scenario: Scenario, share: Share, name: str) -> Simulated:
    """The world of one shard; `PreflightError`, in the name of `name`, when it does not fit."""
    try:
        return simulate(scenario, share)
    except ValueError as error:
        raise PreflightError(f"{name}: {error}") from None


def build_towns(scenario: Scenario, name: str) -> tuple[City, ...]:
    """Streets and stalls of all towns; `PreflightError`, in the name of `name`."""
    try:
        return build_cities(scenario)
    except ValueError as error:
        raise PreflightError(f"{name}: {error}") from None


# --- options --------------------------------------------------------------------------------------


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def shard_count(text: str, vehicles: int, cores: int) -> int:
    """Of `--shards`: a number, or `auto` for one a core; never more than vehicles."""
    if text == "auto":
        return max(1, min(cores, vehicles))
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SHARDS:
        raise PreflightError(f"--shards: {text!r} (allowed: 1 to {MAX_SHARDS}, or auto)")
    if int(text) > vehicles:
        raise PreflightError(
            f"--shards: {text} processes for {vehicles} vehicles (allowed: at most {vehicles})"
        )
    return int(text)


def source_addresses(text: str) -> tuple[str, ...]:
    """Of `--source-ip`: addresses and CIDR ranges, separated by commas; none for an empty text.

    Every one must be this machine's.
    """
    found: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            network = ipaddress.ip_network(part, strict=False)
        except ValueError as error:
            raise PreflightError(
                f"--source-ip: {part!r}: {error} (allowed: 127.0.0.2 or 127.0.1.0/28)"
            ) from None
        if network.num_addresses > MAX_SOURCES:
            raise PreflightError(
                f"--source-ip: {part!r} has {network.num_addresses} addresses "
                f"(allowed: at most {MAX_SOURCES})"
            )
        found += [str(address) for address in (list(network.hosts()) or [network[0]])]
    for address in found:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            try:
                probe.bind((address, 0))
            except OSError as error:
                raise PreflightError(
                    f"--source-ip: {address}: {error.strerror} (allowed: this machine's addresses; "
                    f"`ip address add {address} dev …` adds one)"
                ) from None
    return tuple(dict.fromkeys(found))


# --- this machine ---------------------------------------------------------------------------------


def check_machine(
    scenario: Scenario, shares: Sequence[Share], sources: Sequence[str], brokers: int = 1
) -> None:
    """All that needs no target. `PreflightError`."""
    check_cores(len(shares), scenario.vehicles)
    check_descriptors(max(share.n for share in shares))
    check_ports(scenario.vehicles, sources, brokers)
    check_memory(scenario, len(shares))


def check_cores(shards: int, vehicles: int = 0) -> None:
    """Shards that share a core slow one another down, and the schedule is what suffers. More than
    two a core are allowed only as far as `vehicles` need the files that they may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = float("inf") if hard == resource.RLIM_INFINITY else max(1, hard - SPARE_DESCRIPTORS)
    most = max(2 * cores(), math.ceil(vehicles / room))
    if shards > most:
        raise PreflightError(
            f"--shards: {shards} processes on {cores()} cores would wait for one another "
            f"(allowed: at most {most}; --shards auto takes {cores()})"
        )


def check_descriptors(vehicles: int) -> None:
    """Raise the soft limit of open files as far as needed and allowed.

    `PreflightError` when the hard limit is too low for a socket a vehicle of one process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = vehicles + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise PreflightError(
            f"{vehicles} vehicles need {needed} open files and this process may have {hard} "
            f"(ulimit -Hn): raise it in /etc/security/limits.conf, share them out with --shards, "
            f"or run at most {hard - SPARE_DESCRIPTORS} vehicles a process"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def ephemeral_ports(
    path: Path = Path("/proc/sys/net/ipv4/ip_local_port_range"),
) -> tuple[int, int]:
    """First and last port that the system gives to outgoing connections."""
    first, last = path.read_text().split()
    return int(first), int(last)


def check_ports(vehicles: int, sources: Sequence[str], brokers: int = 1) -> None:
    """A port a connection from each source address, or from the system's own to each broker: an
    address that is asked for is bound before it is known which broker the port is for."""
    first, last = ephemeral_ports()
    ports, addresses = last - first + 1, max(1, len(sources))
    if vehicles > ports * (addresses if sources else brokers):
        more = -(-vehicles // ports)
        raise PreflightError(
            f"{vehicles} connections to {brokers} broker{'s' if brokers > 1 else ''} need as many "
            f"ports, and there are {ports} "
            f"({first}-{last}, net.ipv4.ip_local_port_range) for each of {addresses} source "
            f"address{'es' if addresses > 1 else ''}: give {more} with --source-ip, or widen the "
            "range"
        )


def available_mb(path: Path = Path("/proc/meminfo")) -> float:
    """Memory that can be had without swapping, 1e6 bytes."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    return int(match[1]) * 1024 / 1e6 if match else float("inf")


def needed_mb(scenario: Scenario, shards: int) -> float:
    """An estimate of all processes' memory together, 1e6 bytes."""
    messages = sum(
        group.count * scenario.duration_s / group.telemetry.period_s for group in scenario.fleet
    )
    # Whoever simulates a part of a town simulates it whole.
    simulated = scenario.vehicles * max(1.0, shards / town_count(scenario))
    world_mb = simulated * 1.0 / 1e3
    fleet_mb = scenario.vehicles * VEHICLE_KB / 1e3
    processes = shards + 1 if shards > 1 else 1
    return processes * BASE_MB + world_mb + fleet_mb + messages * MESSAGE_B / 1e6


def check_memory(scenario: Scenario, shards: int) -> None:
    """`PreflightError` when the estimate is more than there is."""
    needed, there = needed_mb(scenario, shards), available_mb()
    if needed > there:
        raise PreflightError(
            f"{scenario.vehicles} vehicles for {scenario.duration_s:g} s in {shards} "
            f"process{'es' if shards > 1 else ''} need about {needed:,.0f} MB and {there:,.0f} MB "
            "are available (MemAvailable): run fewer vehicles, a shorter time or a longer "
            "telemetry.period, or use more machines (--cluster ray)"
        )


# --- the way to the target ------------------------------------------------------------------------


def check_target(link: LinkSettings, vehicles: int) -> None:
    """Open one connection to each broker as a vehicle would, TLS handshake included, and close it.

    `ConnectError` names the address and what went wrong.
    """
    for host, port in ((link.host, link.port), *link.more):
        _check_broker(link._replace(host=host, port=port), vehicles)


def _check_broker(link: LinkSettings, vehicles: int) -> None:
    where = f"{link.host}:{link.port}"
    source = (link.source_ips[0], 0) if link.source_ips else None
    try:
        with socket.create_connection(
            (link.host, link.port), timeout=TIMEOUT_S, source_address=source
        ) as plain:
            if link.tls is not None and vehicles:
                name = link.tls.server_name or link.host
                with link.tls.context_of(0).wrap_socket(plain, server_hostname=name):
                    pass
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise ConnectError(
            f"{where} does not complete a TLS handshake: {reason} (check the CA and the vehicles' "
            "certificates)"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConnectError(
            f"{where} cannot be reached: {reason} (is the broker running, and is the address "
            "right?)"
        ) from None


def check_clock(api_url: str | None) -> None:
    """`PreflightError` when the target's clock and this one are far apart."""
    offset_s = clock_offset_s(api_url) if api_url else None
    if offset_s is not None and abs(offset_s) > CLOCK_ALLOWED_S:
        ahead = "ahead of" if offset_s > 0 else "behind"
        raise PreflightError(
            f"the target's clock is {abs(offset_s):.1f} s {ahead} this machine's (allowed: "
            f"{CLOCK_ALLOWED_S:g} s): set this one by NTP (`chronyc tracking`, `timedatectl`), or "
            "every latency of the cloud is wrong by as much"
        )


def clock_offset_s(api_url: str) -> float | None:
    """How far the API's clock is surely ahead of this one, by the `Date` of its answers, to within
    a second; None where it does not tell."""
    url = urllib.parse.urlsplit(api_url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.netloc, timeout=TIMEOUT_S)
    try:
        before = time.time()
        connection.request("HEAD", url.path or "/")
        date = connection.getresponse().getheader("Date")
        after = time.time()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if date is None:
        return None
    told = email.utils.parsedate_to_datetime(date).timestamp()
    # The header leaves out the fraction of its second.
    offset_s = told + 0.5 - (before + after) / 2
    # Said at any time between: a busy machine's late answer is not another clock.
    return math.copysign(max(0.0, abs(offset_s) - (after - before) / 2), offset_s)
