"""A run's figures for others to watch while it goes on: what they are, and who hands them on.

The names are part of what users build on: docs/metrics.md has them all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, Protocol

from fleet_sim.engine.preflight import PreflightError
from fleet_sim.engine.status import Status
from fleet_sim.measure import live


class Figure(NamedTuple):
    """A number of the whole fleet."""

    name: str
    """Prometheus: `fleet_sim_NAME` (counters: `fleet_sim_NAME_total`); OTLP: `fleet_sim.NAME`."""
    unit: str
    text: str
    read: Callable[[Status], float]


GAUGES = (
    Figure("vehicles", "1", "Vehicles of the run", lambda s: s.vehicles),
    Figure("vehicles_connected", "1", "Vehicles that are online", lambda s: s.connected),
    Figure(
        "vehicles_reachable",
        "1",
        "Vehicles whose radio link has been there for 10 s",
        lambda s: s.reachable,
    ),
    Figure("vehicles_driving", "1", "Vehicles that drive or search", lambda s: s.driving),
    Figure("messages_in_flight", "1", "Messages not yet acknowledged", lambda s: s.in_flight),
    Figure("messages_stored", "1", "Messages that wait in vehicles", lambda s: s.stored),
    Figure("stalls", "1", "Stalls of the city", lambda s: s.stalls),
    Figure("stalls_occupied", "1", "Stalls that are taken", lambda s: s.occupied),
    Figure("memory_bytes", "By", "Memory of the generator's processes", lambda s: s.rss_mb * 1e6),
)
COUNTERS = (
    Figure("messages_due", "1", "Messages that were due", lambda s: s.opened),
    Figure("messages_sent", "1", "Messages sent", lambda s: _count(s, live.STAGE_SENT)),
    Figure(
        "messages_acknowledged",
        "1",
        "Messages acknowledged",
        lambda s: _count(s, live.STAGE_ACKNOWLEDGED),
    ),
    Figure("reconnects", "1", "Attempts to connect since the first phase", lambda s: s.reconnects),
    Figure(
        "probe_timeouts",
        "1",
        "Messages the API did not show in a minute",
        lambda s: s.probe_timeouts or 0,
    ),
    Figure("cpu_seconds", "s", "CPU time of the generator's processes", lambda s: s.cpu_s),
)
LATENCIES: Mapping[str, Mapping[str, str]] = {
    "latency_seconds": {
        "sent": live.STAGE_SENT,
        "acknowledged": live.STAGE_ACKNOWLEDGED,
        "visible": live.STAGE_VISIBLE,
    },
    "service_seconds": {"acknowledged": live.SERVICE},
    "lateness_seconds": {"opened": live.LATENESS},
}
"""Name, and by stage the metric behind it. Since the beginning of the first phase."""
LATENCY_TEXTS = {
    "latency_seconds": "From the intended time until the stage",
    "service_seconds": "From the send until the acknowledgement",
    "lateness_seconds": "How late the generator itself opened messages",
}


class Exporter(Protocol):
    """Hands figures on."""

    def tell(self, status: Status) -> None:
        """How it goes now."""

    def close(self) -> None:
        """The run is over."""


@contextmanager
def exporting(
    prometheus: str | None, otlp: bool, about: Mapping[str, str]
) -> Iterator[Sequence[Exporter]]:
    """`open_exports`, closed when the block is left: each, whatever becomes of the others."""
    with ExitStack() as stack:
        opened = open_exports(prometheus, otlp, about)
        for export in opened:
            stack.callback(export.close)
        yield opened


def open_exports(
    prometheus: str | None, otlp: bool, about: Mapping[str, str]
) -> Sequence[Exporter]:
    """Those that were asked for. `about`: run, scenario and target, told with every figure.
    `PreflightError` for an address that cannot be taken, or a package that is missing; none is
    open then."""
    with ExitStack() as stack:
        opened = list(_opened(prometheus, otlp, about, stack))
        stack.pop_all()
    return opened


def _opened(
    prometheus: str | None, otlp: bool, about: Mapping[str, str], stack: ExitStack
) -> Iterator[Exporter]:
    """`stack` closes what has been opened when the next one cannot be."""
    export: Exporter
    if prometheus:
        try:
            from fleet_sim.engine.prometheus import PrometheusExporter
        except ModuleNotFoundError as error:
            raise _missing("--prometheus", "prometheus", error) from None
        export = PrometheusExporter(*_address(prometheus), about)
        stack.callback(export.close)
        yield export
    if otlp:
        try:
            from fleet_sim.engine.otlp import OtlpExporter
        except ModuleNotFoundError as error:
            raise _missing("--otlp", "otel", error) from None
        export = OtlpExporter(about)
        stack.callback(export.close)
        yield export


def _count(status: Status, metric: str) -> float:
    found = status.live.get(metric)
    return found.count if found else 0


def _missing(option: str, extra: str, error: ModuleNotFoundError) -> PreflightError:
    return PreflightError(
        f"{option}: {error.name} is not installed (allowed: pip install 'fleet-sim[{extra}]')"
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise PreflightError(
            f"--prometheus: {text!r} is no address (allowed: HOST:PORT such as 127.0.0.1:9464)"
        )
    return host.strip("[]"), int(port)
