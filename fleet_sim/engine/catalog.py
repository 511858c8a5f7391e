"""Scenarios with the names that this installation knows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fleet_sim.measure import live, ota
from fleet_sim.measure import load as load_figures
from fleet_sim.measure.audit import AuditReport
from fleet_sim.measure.thresholds import check_threshold
from fleet_sim.scenario import Catalog, Scenario, json_schema, load
from fleet_sim.world import catalog
from fleet_sim.world.equipment import check_presets

METRICS = (
    "latency_ms",
    "service_ms",
    "lateness_ms",
    "connected_ratio",
    "reconnects",
    "messages",
    "probe_timeouts",
    "failure_queue",
    *(
        f"audit_{name}"
        for name in AuditReport.__struct_fields__
        if name not in ("fates", "stories")
    ),
    "occupancy_accuracy",
    "occupancy_coverage",
    "occupancy_brier",
    "occupancy_calibration_error",
    "occupancy_staleness_s",
    "occupancy_precision",
    "occupancy_recall",
    "occupancy_f1",
    *ota.METRICS,
    *load_figures.METRICS,
)
"""Names of all that a run may measure; what it does measure depends on the target."""

LIVE_METRICS = (
    live.STAGE_SENT,
    live.STAGE_ACKNOWLEDGED,
    live.STAGE_VISIBLE,
    live.SERVICE,
    live.LATENESS,
    "messages",
    "reconnects",
    "probe_timeouts",
)
"""Those that `engine/guard.py` knows while a run goes on."""


def known_names() -> Catalog:
    """What a scenario may refer to."""
    return msgspec.structs.replace(catalog(), metrics=METRICS, live_metrics=LIVE_METRICS)


def load_scenario(path: Path, *, overrides: Sequence[str] = ()) -> Scenario:
    """Load and check a scenario file. `ScenarioError` says everything that is wrong with it."""
    return load(
        path,
        overrides=overrides,
        catalog=known_names(),
        check_threshold=check_threshold,
        check_presets=check_presets,
    )


def scenario_schema() -> dict[str, Any]:
    """JSON Schema of scenario files, with the known presets as enumerations."""
    return json_schema(known_names())
