"""What a person sees while it runs: drawn on a console of the test's own."""

import io
from argparse import Namespace
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from fleet_sim.engine.progress import LiveView
from fleet_sim.engine.status import Status
from fleet_sim.measure.live import STAGE_ACKNOWLEDGED, LiveHistogram
from fleet_sim.measure.thresholds import evaluate
from fleet_sim.scenario import loads

SCENARIO = """
name: story
fleet: [{group: a, count: 10}]
clock: {speed: 2}
phases: [{name: calm, duration: 1m}, {name: surge, duration: 1m}, {name: egress, duration: 1m}]
faults:
  - {at: 70s, for: 40s, radio: {district: north, state: down}}
"""


def drawn(elapsed_s: float) -> str:
    """A frame after so much wall time."""
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    now_ns = round(elapsed_s * 1e9) + 1
    supervisor = Namespace(
        hosts=[1], living=[1], vehicles=10, t0_ns=1, clock=Namespace(now_ns=lambda: now_ns)
    )
    view = LiveView(console, loads(SCENARIO), cast(Any, supervisor))
    histogram = LiveHistogram()
    histogram.record_ns(np.full(50, 42_000_000))
    live = {STAGE_ACKNOWLEDGED: histogram.snapshot()}
    view._status = Status(connected=9, sent_per_s=10, lateness_p99_ms=3.0, live=live)
    view.results = evaluate({"m": ["max<5", "max<9"]}, {"m": {"max": 7.0}})
    console.print(view._render())
    return cast(io.StringIO, console.file).getvalue()


def test_phases_figures_and_thresholds_are_there() -> None:
    text = drawn(31.0)

    assert "calm ▸ surge ▸ egress" in text
    assert "surge of 90 s" in text
    for name, value in (
        ("connected", "9/10"),
        ("sent/s", "10"),
        ("lateness p99", "3 ms"),
        ("ack p95 so far", "42 ms"),
        ("thresholds held", "1/2"),
    ):
        (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
        assert line.split()[-len(value.split()) :] == value.split()


@pytest.mark.parametrize(
    ("elapsed_s", "more"), [(34.9, None), (35.0, "20 s more"), (54.0, "1 s more"), (55.0, None)]
)
def test_a_fault_is_told_while_it_lasts(elapsed_s: float, more: str | None) -> None:
    text = drawn(elapsed_s)

    assert ("fault: radio down: north" in text) == (more is not None)
    assert more is None or more in text
