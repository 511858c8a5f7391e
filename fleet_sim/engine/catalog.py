"""Scenarios with the names that this installation knows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleet_sim.measure.thresholds import check_threshold
from fleet_sim.scenario import Scenario, json_schema, load
from fleet_sim.world import catalog


def load_scenario(path: Path, *, overrides: Sequence[str] = ()) -> Scenario:
    """Load and check a scenario file. `ScenarioError` says everything that is wrong with it."""
    return load(path, overrides=overrides, catalog=catalog(), check_threshold=check_threshold)


def scenario_schema() -> dict[str, Any]:
    """JSON Schema of scenario files, with the known presets as enumerations."""
    return json_schema(catalog())
