"""An endpoint that Prometheus scrapes: the newest status, made into text when it is asked for."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fleet_sim.engine.exports import COUNTERS, GAUGES, LATENCIES, LATENCY_TEXTS
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.engine.status import Status

BUCKETS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)


class Newest(Collector):
    """The figures of the newest status. Read by the server's thread: a status never changes."""

    def __init__(self, about: Mapping[str, str]) -> None:
        self.status = Status()
        self._about = dict(about)

    def collect(self) -> Iterable[Metric]:
        status = self.status
        yield InfoMetricFamily("fleet_sim_run", "Which run this is", self._about)
        for figure in GAUGES:
            yield GaugeMetricFamily(f"fleet_sim_{figure.name}", figure.text, figure.read(status))
        for figure in COUNTERS:
            yield CounterMetricFamily(f"fleet_sim_{figure.name}", figure.text, figure.read(status))
        for name, metrics in LATENCIES.items():
            family = HistogramMetricFamily(
                f"fleet_sim_{name}", LATENCY_TEXTS[name], labels=["stage"]
            )
            for stage, metric in metrics.items():
                if (found := status.live.get(metric)) is not None:
                    buckets = [(f"{le:g}", found.at_most(le * 1000)) for le in BUCKETS_S]
                    buckets.append(("+Inf", found.count))
                    family.add_metric([stage], buckets, found.sum_ms / 1000)
            yield family


class PrometheusExporter:
    """Serves `/metrics` from a thread of its own until closed."""

    def __init__(self, host: str, port: int, about: Mapping[str, str]) -> None:
        registry = CollectorRegistry()
        self._newest = Newest(about)
        registry.register(self._newest)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise PreflightError(
                f"--prometheus: {host}:{port}: {error.strerror or error} "
                "(allowed: a free port of this machine)"
            ) from None
        self.port = self._server.server_port

    def tell(self, status: Status) -> None:
        self._newest.status = status

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
