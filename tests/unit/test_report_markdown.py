"""A run as Markdown: what a CI job shows."""

from pathlib import Path

import msgspec
import pytest
from test_report_sample import make_run

from fleet_sim.measure.summary import Summary
from fleet_sim.measure.thresholds import ThresholdResult
from fleet_sim.report.markdown import markdown, write_markdown


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return make_run(tmp_path_factory.mktemp("run"), vehicles=20, blocks=(2, 2))


def test_verdict_thresholds_latency_and_cost_are_there(summary: Summary) -> None:
    text = markdown(summary)

    assert text.startswith("## ✅ ")
    for threshold in summary.thresholds:
        assert f"| ✅ | `{threshold.metric}: {threshold.condition}` |" in text
    assert "| acknowledged | " in text
    assert "a vehicle and month" in text


def test_a_failure_says_why(summary: Summary) -> None:
    run = msgspec.structs.replace(
        summary.run, verdict="threshold_broken", exit_code=99, reasons=["it was slow"]
    )
    broken = ThresholdResult("m", "p(95)<1", None, False, True, "m: not measured")
    text = markdown(msgspec.structs.replace(summary, run=run, thresholds=[broken]))

    assert text.startswith("## ❌ ")
    assert "- it was slow" in text
    assert "| ❌ | `m: p(95)<1` | not measured |" in text


def test_names_cannot_become_markup(summary: Summary) -> None:
    nasty = "<b>|x|</b> [a](http://x) `y`\n# z"
    run = msgspec.structs.replace(summary.run, scenario=nasty, target=nasty, reasons=[nasty])
    broken = ThresholdResult(nasty, "p(95)<1", None, False, True, nasty)
    text = markdown(msgspec.structs.replace(summary, run=run, thresholds=[broken]))

    assert "<b>" not in text.replace(f"`{'<b>'}", "")[: text.index("| ❌")]
    assert "[a](" not in text[: text.index("| ❌")]
    assert "\n# z" not in text
    widths = {line.count("|") - line.count("\\|") for line in text.splitlines() if line[:2] == "| "}
    assert widths <= {3, 4, 7}


def test_a_step_summary_is_added_to_and_a_file_is_written(summary: Summary, tmp_path: Path) -> None:
    step = tmp_path / "step"
    step.write_text("before\n")
    write_markdown(summary, tmp_path / "new" / "page.md", str(step))

    assert (tmp_path / "new" / "page.md").read_text() == markdown(summary)
    assert step.read_text().startswith("before\n## ")
    write_markdown(summary, None, None)
