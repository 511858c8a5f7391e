"""Figures over real sockets: a scrape, and a collector of the test's own."""

import http.server
import threading
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.parser import text_string_to_metric_families

from fleet_sim.engine.exports import exporting
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.engine.prometheus import PrometheusExporter
from fleet_sim.engine.status import Status
from fleet_sim.measure.live import STAGE_ACKNOWLEDGED, LiveHistogram

ABOUT = {"run": "r1", "scenario": "s", "target": "t"}


def status() -> Status:
    histogram = LiveHistogram()
    histogram.record_ns(np.full(100, 50_000_000))
    return Status(vehicles=7, opened=100, live={STAGE_ACKNOWLEDGED: histogram.snapshot()})


def test_a_scrape_over_http() -> None:
    exporter = PrometheusExporter("127.0.0.1", 0, ABOUT)
    url = f"http://127.0.0.1:{exporter.port}/metrics"
    try:
        exporter.tell(status())
        with urllib.request.urlopen(url, timeout=60) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            values = {s.name: s.value for family in families for s in family.samples}
        taken = f"127.0.0.1:{exporter.port}"
        with (
            pytest.raises(PreflightError, match=f"--prometheus: {taken}"),
            exporting(taken, False, ABOUT),
        ):
            pass
    finally:
        exporter.close()
    assert values["fleet_sim_vehicles"] == 7
    assert values["fleet_sim_latency_seconds_count"] == 100
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=60)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExportMetricsServiceRequest]]:
    got: list[ExportMetricsServiceRequest] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/metrics"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not on the test's output."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=ci")
    yield got
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_collector_gets_the_figures(collector: list[ExportMetricsServiceRequest]) -> None:
    with exporting(None, True, ABOUT) as exports:
        for export in exports:
            export.tell(status())

    (resource,) = collector[-1].resource_metrics
    about = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert about["service.name"] == "fleet-sim"
    assert about["fleet_sim.run"] == "r1"
    assert about["deployment.environment"] == "ci"
    metrics = {m.name: m for scope in resource.scope_metrics for m in scope.metrics}
    assert metrics["fleet_sim.vehicles"].gauge.data_points[0].as_double == 7 or (
        metrics["fleet_sim.vehicles"].gauge.data_points[0].as_int == 7
    )
    due = metrics["fleet_sim.messages_due"].sum
    assert due.is_monotonic
    assert due.data_points[0].as_int == 100
    points = metrics["fleet_sim.latency_seconds"].gauge.data_points
    found = {
        next(a.value.double_value for a in p.attributes if a.key == "quantile"): p.as_double
        for p in points
    }
    assert found == pytest.approx({0.5: 0.05, 0.95: 0.05, 0.99: 0.05})
