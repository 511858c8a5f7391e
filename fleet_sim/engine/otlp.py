"""Figures to an OpenTelemetry collector, by the SDK: its `OTEL_*` variables say where and how."""

import os
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from fleet_sim import __version__
from fleet_sim.engine.exports import COUNTERS, GAUGES, LATENCIES, LATENCY_TEXTS, Figure
from fleet_sim.engine.status import Status

INTERVAL_MS = 10_000
"""Between two exports, unless OTEL_METRIC_EXPORT_INTERVAL says otherwise: runs are short."""
QUANTILES = (50.0, 95.0, 99.0)

_Callback = Callable[[CallbackOptions], Iterable[Observation]]


class OtlpExporter:
    """Exports from a thread of the SDK's; the last time when it is closed."""

    def __init__(self, about: Mapping[str, str]) -> None:
        self._status = Status()
        names = {f"fleet_sim.{name}": text for name, text in about.items()}
        if "OTEL_SERVICE_NAME" not in os.environ:
            names["service.name"] = "fleet-sim"
        own = "OTEL_METRIC_EXPORT_INTERVAL" in os.environ
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(), export_interval_millis=None if own else INTERVAL_MS
        )
        self._provider = MeterProvider(
            [reader], resource=Resource.create({**names}), shutdown_on_exit=False
        )
        meter = self._provider.get_meter("fleet_sim", __version__)
        for figure in GAUGES:
            meter.create_observable_gauge(
                f"fleet_sim.{figure.name}", [self._one(figure)], figure.unit, figure.text
            )
        for figure in COUNTERS:
            meter.create_observable_counter(
                f"fleet_sim.{figure.name}", [self._one(figure)], figure.unit, figure.text
            )
        for name, metrics in LATENCIES.items():
            meter.create_observable_gauge(
                f"fleet_sim.{name}", [self._quantiles(metrics)], "s", LATENCY_TEXTS[name]
            )

    def tell(self, status: Status) -> None:
        self._status = status

    def close(self) -> None:
        self._provider.shutdown()

    def _one(self, figure: Figure) -> _Callback:
        return lambda _: [Observation(figure.read(self._status))]

    def _quantiles(self, metrics: Mapping[str, str]) -> _Callback:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for stage, metric in metrics.items():
                found = self._status.live.get(metric)
                if found is None or not found.counts:
                    continue
                stats = found.stats(QUANTILES)
                for quantile in QUANTILES:
                    about: dict[str, str | float] = {"stage": stage, "quantile": quantile / 100}
                    yield Observation(stats[f"p{quantile:g}"] / 1000, about)

        return observe
