"""What `fleet-sim bench ci` concludes from what it measured, and a slowdown that is planted."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from test_report_sample import make_run

from fleet_sim.cli import main
from fleet_sim.engine.bench import ci, ci_run
from fleet_sim.engine.bench.ci_parts import PARTS, slowed
from fleet_sim.engine.bench.ci_plant import planted
from fleet_sim.engine.bench.ci_run import BenchError, of_summary
from fleet_sim.measure.regression import FEWEST

NOISE = (1.0, 1.02, 0.99, 1.01, 0.98, 1.0, 1.03)


def bench(machine: float, product: float, allowed: float | None = 0.08) -> ci.Bench:
    """Of a machine that takes `machine` times as long, and a product that does."""
    values = tuple(0.2 * machine * product * noise for noise in NOISE)
    ratios = tuple(value / (0.05 * machine) for value in values)
    figure = ci.Figure("s", values, ratios, allowed)
    return ci.Bench("2026-06-01", "3.12", "x", 0.05 * machine, {"processor": figure})


@pytest.mark.parametrize(
    ("machine", "product", "verdict"),
    [(1.0, 1.0, "same"), (3.0, 1.0, "same"), (1.0, 1.2, "slower"), (0.5, 1.2, "slower")],
)
def test_a_slow_machine_is_no_regression_and_a_slow_product_is(
    machine: float, product: float, verdict: str
) -> None:
    now = bench(machine, product)
    (row,) = ci.compare_all(now, bench(1.0, 1.0))
    assert row.compared is not None
    assert row.compared.verdict == verdict
    page = ci.markdown([row], now, bench(1.0, 1.0))
    assert ("❌ slower: processor" in page) == (verdict == "slower")
    assert f"| {row.compared.change:.3f} |" in page


def test_what_is_not_judged_is_told_all_the_same() -> None:
    (row,) = ci.compare_all(bench(1.0, 9.0, None), bench(1.0, 1.0, None))
    assert row.compared is not None
    assert row.compared.verdict == "not judged"
    assert row.compared.change == pytest.approx(9.0)
    assert "no regression" in ci.markdown([row], bench(1.0, 9.0, None), None)


def test_too_few_measurements_are_compared_with_none() -> None:
    short = bench(1.0, 1.0)
    cut = msgspec.structs.replace(short.figures["processor"], ratios=(4.0,) * 4)
    short = msgspec.structs.replace(short, figures={"processor": cut})
    for now, base in ((short, bench(1.0, 1.0)), (bench(1.0, 9.0), short)):
        (row,) = ci.compare_all(now, base)
        assert row.compared is None


def test_a_figure_without_a_baseline_is_new_and_one_that_is_gone_is_told() -> None:
    (row,) = ci.compare_all(bench(1.0, 9.0), None)
    assert row.compared is None
    assert ci.told([row])[1][-1] == "new"
    empty = msgspec.structs.replace(bench(1.0, 1.0), figures={})
    assert ci.missing(empty, bench(1.0, 1.0)) == ["processor"]


def test_a_baseline_of_another_machine_is_told() -> None:
    now = msgspec.structs.replace(bench(1.0, 1.0), python="3.12.9", cpu="a")
    assert ci.unlike(now, bench(1.0, 1.0)) == []
    other = msgspec.structs.replace(now, cpu="b", python="3.11.2")
    said = ci.unlike(now, other)
    assert said[0] == "The baseline is of another CPU: b, and this is a."
    assert said[1] == "The baseline is of Python 3.11.2, and this is 3.12.9."
    assert " ".join(said) in ci.markdown(ci.compare_all(now, other), now, other)


def test_a_planted_slowdown_takes_so_much_longer() -> None:
    def work() -> float:
        began = time.process_time()
        while time.process_time() - began < 0.005:
            pass
        return time.process_time() - began

    took = slowed(work, 0.5)()
    assert took >= 1.5 * 0.005


SPIN = """
import time
while time.thread_time() < 0.05:
    pass
until = time.monotonic() + 60
while time.process_time() < 1.4 * time.thread_time() and time.monotonic() < until:
    time.sleep(0.005)
print(time.process_time() / time.thread_time())
"""


def test_a_process_of_a_planted_run_takes_so_much_longer(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(planted(tmp_path / "p", 0.5))}
    done = subprocess.run(
        [sys.executable, "-c", SPIN], env=environment, capture_output=True, text=True, check=True
    )
    assert 1.4 <= float(done.stdout) < 1.7


@pytest.mark.parametrize("content", [None, "{", '{"date": 3}'])
def test_a_baseline_that_cannot_be_read_is_one_line(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    if content is not None:
        path.write_text(content)
    done = CliRunner().invoke(main, ["bench", "ci", "--baseline", str(path)])
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert f"error: {path}: " in done.output
    assert "--write makes one" in done.output


def test_a_planted_slowdown_is_never_the_baseline() -> None:
    done = CliRunner().invoke(main, ["bench", "ci", "--write", "--plant", "20%"])
    assert done.exit_code == 2
    assert "--write: not of a planted slowdown" in done.output


def test_a_run_is_read_from_its_summary(tmp_path: Path) -> None:
    summary = make_run(tmp_path, vehicles=20, blocks=(2, 2))
    piped = of_summary(summary, 3.0)
    assert piped.cpu_s == 3.0
    assert piped.p50_ms["visible"] == summary.metrics["latency_ms{stage:visible}"]["p50"]
    nothing = msgspec.structs.replace(summary, metrics={})
    with pytest.raises(BenchError, match="no message at the API"):
        of_summary(nothing, 3.0)


def test_what_could_not_be_compared_is_not_told_as_good() -> None:
    base = bench(1.0, 1.0)
    short = msgspec.structs.replace(base.figures["processor"], ratios=(4.0, 4.1))
    few = msgspec.structs.replace(base, figures={"processor": short})
    for now, before in ((base, None), (base, few), (few, base)):
        page = ci.markdown(ci.compare_all(now, before), now, before)
        assert "## Benchmark: ⚠️ nothing was compared" in page
    two = msgspec.structs.replace(base, figures={**base.figures, "world": short})
    page = ci.markdown(ci.compare_all(base, two), base, two)
    assert "## Benchmark: ✅ no regression; not measured: world" in page


def test_a_figure_that_is_not_known_well_enough_is_named() -> None:
    base = bench(1.0, 1.0)
    wild = msgspec.structs.replace(
        base.figures["processor"], ratios=(2.0, 3.0, 4.0, 4.0, 5.0, 6.0, 7.0)
    )
    now = msgspec.structs.replace(base, figures={"processor": wild})
    page = ci.markdown(ci.compare_all(now, base), now, base)
    assert "## Benchmark: ✅ no regression shown; undecided: processor" in page


def test_a_benchmark_that_is_interrupted_leaves_no_run_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    did: list[str] = []

    class Process:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def wait(self, timeout: float | None = None) -> int:
            did.append("wait")
            if len(did) == 1:
                raise KeyboardInterrupt
            return 0

        def terminate(self) -> None:
            did.append("terminate")

    monkeypatch.setattr(ci_run.subprocess, "Popen", Process)
    with pytest.raises(KeyboardInterrupt):
        ci_run.run_once()
    assert did == ["wait", "terminate", "wait"]


def test_the_committed_baseline_has_what_is_measured() -> None:
    base = ci.read_baseline(Path(__file__).resolve().parents[1] / "bench" / "baseline.json")
    judged = {name for name, figure in base.figures.items() if figure.allowed is not None}
    parts = {part.name for part in PARTS}
    runs = {"run_cpu", "generator_cpu", "p50_processed", "p50_stored", "p50_visible"}
    assert judged == parts | runs
    assert all(len(figure.ratios) >= FEWEST for figure in base.figures.values())
