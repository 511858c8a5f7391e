"""Axes, charts and the reading of a run folder."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.measure.histogram import LatencyHistogram
from fleet_sim.report import axes
from fleet_sim.report.charts import Band, Chart, Line, figure, thin
from fleet_sim.report.folder import parse_hgrm, read
from fleet_sim.report.html import data, escape, tag


@given(st.just(0.0) | st.floats(1e-3, 1e12), st.integers(2, 12))
def test_a_linear_axis_holds_its_values_and_ends_on_a_tick(high: float, ticks: int) -> None:
    scale = axes.linear(0.0, high, ticks)
    assert scale.place(0.0) == 0.0
    assert 0 <= scale.place(high) <= 1 + 1e-6
    assert scale.place(scale.ticks[-1][0]) == pytest.approx(1.0)
    assert len(scale.ticks) <= ticks + 2
    labels = [label for _, label in scale.ticks]
    assert len(set(labels)) == len(labels)


@given(st.floats(1e-2, 1e6), st.floats(1, 1e4))
def test_decades_hold_their_values(low: float, factor: float) -> None:
    scale = axes.decades(low, low * factor, axes.ms_tick)
    assert -1e-6 <= scale.place(low) <= scale.place(low * factor) <= 1 + 1e-6
    assert scale.place(0.0) == 0.0


@pytest.mark.parametrize(
    ("high", "ticks", "labels"),
    [
        (120, 5, ["0:00", "0:30", "1:00", "1:30", "2:00"]),
        (7, 10, ["0:00", "0:01", "0:02", "0:03", "0:04", "0:05", "0:06", "0:07"]),
        (7200, 5, ["0:00", "30:00", "1:00:00", "1:30:00", "2:00:00"]),
        (400_000, 5, ["0:00", "24:00:00", "48:00:00", "72:00:00", "96:00:00"]),
    ],
)
def test_a_clock_has_round_ticks(high: float, ticks: int, labels: list[str]) -> None:
    assert [label for _, label in axes.clock(0, high, ticks).ticks] == labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.0, "0.00 ms"),
        (0.004, "4 µs"),
        (1.234, "1.23 ms"),
        (45.67, "45.7 ms"),
        (691.2, "691 ms"),
        (4521.98, "4.52 s"),
        (-12.0, "-12.0 ms"),
    ],
)
def test_latencies_are_read_at_a_glance(value: float | None, text: str) -> None:
    assert axes.ms_text(value) == text


def test_lengths_and_moments_say_their_unit() -> None:
    assert [axes.length_text(s) for s in (5, 90, 3600)] == ["0:05 min", "1:30 min", "1:00:00 h"]
    assert axes.moment_text("2026-06-01T19:00:00+02:00") == "2026-06-01 17:00:00 UTC"
    assert [axes.moment_text(text) for text in ("", "2026-06-01")] == ["", "2026-06-01"]
    assert [axes.percent_text(0.512), axes.percent_text(0.0001, 2)] == ["51 %", "0.01 %"]


def test_markup_is_escaped_unless_it_is_ours() -> None:
    assert escape("<b>&\"'") == "&lt;b&gt;&amp;&quot;&#x27;"
    made = tag("p", "<i>", tag("b", 1), class_='"x"', aria_label=None)
    assert made == '<p class="&quot;x&quot;">&lt;i&gt;<b>1</b></p>'
    block = data({"name": "</script><!--&"})
    assert block.count("<") == 2
    assert json.loads(block[block.index(">") + 1 : block.rindex("<")])["name"] == "</script><!--&"


def chart(x: list[float], y: list[float], faults: list[Band] | None = None) -> str:
    return figure(
        Chart(
            "c",
            "Title",
            "Caption.",
            np.array(x),
            [Line("one", np.array(y), 0)],
            "x",
            "y",
            lambda n: axes.clock(0, 10, n),
            lambda n: axes.linear(0, 10, n),
            axes.clock_text,
            axes.number,
            [Band(0, 5, "first"), Band(5, 10, "second")],
            faults or [],
        )
    )


def test_a_gap_breaks_the_line_and_a_lonely_point_is_a_dot() -> None:
    drawn = chart([0, 1, 2, 3, 4, 5], [1, 2, math.nan, 3, math.nan, 4])
    path = re.search(r'<path d="([^"]+)"', drawn)
    assert path is not None
    assert re.sub(r"[\d. ]+", "", path[1]) == "MLMhMh"
    assert '"y":["1","2",null,"3",null,"4"]' in drawn


def test_names_of_bands_never_overlap() -> None:
    faults = [Band(s, s + 0.2, f"fault number {s}") for s in (1, 1.1, 4, 9.9)]
    drawn = chart([0, 10], [0, 10], faults)
    wide = drawn[: drawn.index('class="narrow"')]
    names = re.findall(r'<text x="([\d.]+)"[^>]*class="fault-name">([^<]+)<', wide)
    assert [text for _, text in names] == ["fault number 1", "fault number 4"]
    ends = [float(x) + 6.3 * len(text) for x, text in names]
    assert all(end <= float(x) for end, (x, _) in zip(ends, names[1:], strict=False))
    assert drawn.count("fault number 9.9") == 2  # its shading has it as a title, twice


def test_thinning_keeps_every_peak() -> None:
    y = np.zeros(1000)
    y[[17, 503, 999]] = 5.0, 7.0, 9.0
    gap = np.full(1000, np.nan)
    x, (thinned, gaps), every = thin(np.arange(1000.0), [y, gap], 100)
    assert (len(x), every) == (100, 10)
    assert sorted(thinned[thinned > 0]) == [5, 7, 9]
    assert np.isnan(gaps).all()
    assert thin(np.arange(50.0), [y[:50]], 100)[2] == 1


def test_reads_the_percentiles_that_were_written() -> None:
    histogram = LatencyHistogram()
    histogram.record_ns(np.arange(1, 1001) * 1_000_000)
    read_back = parse_hgrm(histogram.hgrm())
    assert (np.diff(read_back.quantile) >= 0).all()
    at = np.searchsorted(read_back.quantile, 0.5)
    assert read_back.value_ms[at] == pytest.approx(500, rel=2e-3)
    assert read_back.value_ms[-1] == pytest.approx(1000, rel=2e-3)
    assert len(parse_hgrm(LatencyHistogram().hgrm()).quantile) == 0


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a run folder \(it has no summary.json\)") as error:
        read(tmp_path)
    assert str(tmp_path) in str(error.value)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match=r"summary.json: .*missing required field"):
        read(tmp_path)
