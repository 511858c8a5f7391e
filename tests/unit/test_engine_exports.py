"""What others can watch while a run goes on: as Prometheus' own parser reads it."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fleet_sim.engine import otlp, prometheus
from fleet_sim.engine.exports import COUNTERS, GAUGES, LATENCIES, exporting, open_exports
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.engine.prometheus import Newest
from fleet_sim.engine.status import Status
from fleet_sim.measure.live import LATENESS, STAGE_ACKNOWLEDGED, LiveHistogram

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def scraped(status: Status) -> dict[str, float]:
    """Sample name with labels to value."""
    newest = Newest({"run": "r1", "scenario": 'a "b"\n', "target": "local"})
    newest.status = status
    registry = CollectorRegistry()
    registry.register(newest)
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_a_scrape_has_the_newest_status() -> None:
    histogram = LiveHistogram()
    histogram.record_ns(np.array([4, 40, 400, 4000]) * 1_000_000)
    live = {STAGE_ACKNOWLEDGED: histogram.snapshot(), LATENESS: LiveHistogram().snapshot()}
    found = scraped(
        Status(vehicles=7, connected=5, opened=9, rss_mb=2.0, cpu_s=1.5, reconnects=3, live=live)
    )

    assert found["fleet_sim_vehicles{}"] == 7
    assert found["fleet_sim_vehicles_connected{}"] == 5
    assert found["fleet_sim_messages_due_total{}"] == 9
    assert found["fleet_sim_messages_acknowledged_total{}"] == 4
    assert found["fleet_sim_memory_bytes{}"] == 2e6
    assert found["fleet_sim_cpu_seconds_total{}"] == 1.5
    name = "fleet_sim_latency_seconds"
    assert found[f"{name}_count{{stage=acknowledged}}"] == 4
    assert found[f"{name}_sum{{stage=acknowledged}}"] == pytest.approx(4.444)
    buckets = [found[f"{name}_bucket{{le={le},stage=acknowledged}}"] for le in (0.001, 0.05, 0.5)]
    assert [*buckets, found[f"{name}_bucket{{le=+Inf,stage=acknowledged}}"]] == [0, 2, 3, 4]
    assert found['fleet_sim_run_info{run=r1,scenario=a "b"\n,target=local}'] == 1


def test_before_anything_is_known_a_scrape_is_valid() -> None:
    found = scraped(Status())

    assert found["fleet_sim_messages_sent_total{}"] == 0
    assert not any("latency" in name for name in found)


def test_the_docs_have_each_name_once() -> None:
    text = DOCS.read_text()
    names = {figure.name for figure in GAUGES}
    totals = {f"{figure.name}_total" for figure in COUNTERS}
    documented = re.findall(r"^\| `fleet_sim_(\w+)` \| `fleet_sim\.(\w+)`", text, re.MULTILINE)

    assert sorted(name for name, _ in documented) == sorted(names | totals | set(LATENCIES))
    assert all(name.removesuffix("_total") == otlp for name, otlp in documented)


@pytest.mark.parametrize("address", ["9464", "localhost", "127.0.0.1:x", ":9464", "a:70000"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(PreflightError, match=r"--prometheus: .*allowed: HOST:PORT"):
        open_exports(address, False, {})


class Export:
    """One that says when it is closed, and cannot be."""

    closed: list[str]

    def __init__(self, *_: str | int | Mapping[str, str]) -> None:
        pass

    def tell(self, status: Status) -> None:
        raise AssertionError("nothing is told here")

    def close(self) -> None:
        self.closed.append(type(self).__name__)
        raise OSError(f"{type(self).__name__} cannot be closed")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the exports that were closed."""
    names: list[str] = []
    both = {"PrometheusExporter": prometheus, "OtlpExporter": otlp}
    for name, module in both.items():
        monkeypatch.setattr(module, name, type(name, (Export,), {"closed": names}))
    return names


def test_one_that_cannot_be_opened_leaves_none_open(
    closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fleet_sim.engine.otlp", None)
    with pytest.raises((PreflightError, OSError)), exporting("127.0.0.1:1", True, {}):
        raise AssertionError("it was opened")
    assert closed == ["PrometheusExporter"]


def test_one_that_cannot_be_closed_keeps_none_open(closed: list[str]) -> None:
    with pytest.raises(OSError, match="cannot be closed"), exporting("127.0.0.1:1", True, {}):
        pass
    assert sorted(closed) == ["OtlpExporter", "PrometheusExporter"]
