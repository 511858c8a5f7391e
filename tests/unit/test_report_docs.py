"""docs/report.md names everything that a run writes down, and nothing else."""

import re
from pathlib import Path

import msgspec
import pytest

from fleet_sim.measure.accuracy import Accuracy
from fleet_sim.measure.audit import AuditReport
from fleet_sim.measure.ledger import DropCause
from fleet_sim.measure.load import LoadReport, LoadRequest
from fleet_sim.measure.stages import STAGES
from fleet_sim.measure.stories import Story
from fleet_sim.measure.summary import (
    EXIT_CODES,
    Environment,
    Event,
    Generator,
    PhaseSpan,
    Run,
    ShardFigures,
    Summary,
)
from fleet_sim.measure.thresholds import AGGREGATES, ThresholdResult, check_threshold

DOCUMENT = (Path(__file__).parents[2] / "docs" / "report.md").read_text("utf-8")
NAMES = set(re.findall(r"`([^`\n]+)`", DOCUMENT))


@pytest.mark.parametrize(
    "struct",
    [Summary, Run, Generator, ShardFigures, PhaseSpan, Event, Environment, AuditReport, Story,
     Accuracy, ThresholdResult, LoadReport, LoadRequest],
)  # fmt: skip
def test_names_every_field(struct: type[msgspec.Struct]) -> None:
    assert set(struct.__struct_fields__) - NAMES == set()


def test_names_every_stage_cause_and_aggregate() -> None:
    assert set(STAGES) - NAMES == set()
    assert {cause.name.lower() for cause in DropCause if cause} - NAMES == set()
    assert {*AGGREGATES, "p(N)"} - NAMES == set()


def test_lists_the_exit_codes() -> None:
    listed = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", DOCUMENT, re.MULTILINE))
    assert listed == {str(code): verdict for verdict, code in EXIT_CODES.items()}


def test_its_thresholds_parse() -> None:
    block = re.search(r"```yaml\nthresholds:\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    rows = re.findall(r'"([^"]+)": \[(.+)\]', block[1])
    assert len(rows) == 3
    for metric, conditions in rows:
        for condition in re.findall(r'"([^"]+)"', conditions):
            check_threshold(metric, condition)
