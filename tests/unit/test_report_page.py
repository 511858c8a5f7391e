"""The whole report: complete, self-contained, safe, and whole even when the run is not."""

import re
import shutil
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from test_report_sample import make_run

from fleet_sim.measure.citymap import CityMap, MapSpot
from fleet_sim.measure.summary import EXIT_CODES, Summary, from_json, to_json
from fleet_sim.report import city
from fleet_sim.report.render import render
from fleet_sim.report.terminal import summary_table

NASTY = '<script>alert("x")</script>&[red]'
VOID = {"meta", "input", "br", "wbr"}


class Checker(HTMLParser):
    """Collects what a browser would load or run, and checks that elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.refs: list[str] = []
        self.scripts: list[str | None] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href"):
                self.refs.append(value or "")
        if tag == "script":
            self.scripts.append(dict(attrs).get("type"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, vehicles=40, blocks=(3, 2), lose=2)
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def change(folder: Path, **sections: object) -> Summary:
    """Rewrite sections of a run's summary."""
    summary = from_json((folder / "summary.json").read_bytes())
    summary = msgspec.structs.replace(summary, **sections)
    (folder / "summary.json").write_bytes(to_json(summary))
    return summary


def rendered(run: Path) -> tuple[str, Checker]:
    text = render(run).read_text("utf-8")
    return text, Checker(text)


def test_a_whole_run(run: Path) -> None:
    text, page = rendered(run)
    assert len(text) < 2_000_000
    assert page.text.index("Failed: a threshold was broken") < page.text.index("audit_lost")
    for wanted in ("on one time axis", "Latency by percentile", "2 messages have no explanation",
                   "acknowledged +", "never archived", "radio down in the north", "egress",
                   "Parking map against the truth", "fleet-sim run scenarios/parking_surge.yaml",
                   "group: taxis", "basic ingest", "IoT Core: messages",
                   "the store-and-forward buffer was full"):  # fmt: skip
        assert wanted in page.text, wanted
    assert "no chart" not in page.text
    assert text.count('class="missing"') == 0
    for figure in ("throughput", "connections", "in-flight", "percentiles", "latency-p95",
                   "latency-p50", "occupancy", "map", "lateness"):  # fmt: skip
        assert page.ids.count(f"{figure}-chart") == 1
    assert {"heat-acknowledged", "heat-processed", "map-time"} <= set(page.ids)
    # Whoever sees neither map nor heat map has the same in numbers.
    assert "The map at 5 times, in numbers" in page.text
    assert "Latency of processed over time" in page.text
    assert "Connected vehicles: connected40 · 40 · 4030 · 40 · 40" in page.text.replace("\n", "")
    assert len(set(page.ids)) == len(page.ids)


def test_loads_nothing_and_runs_one_script(run: Path) -> None:
    text, page = rendered(run)
    assert all(ref.startswith("#") and ref[1:] in page.ids for ref in page.refs)
    assert page.scripts.count(None) == 1
    assert set(page.scripts) == {None, "application/json"}
    assert not re.search(r"https?:|//\w|url\(|@import", text)
    assert re.search(r"script-src &#x27;sha256-[\w+/=]{44}&#x27;", text)


def test_nothing_people_wrote_becomes_markup(run: Path) -> None:
    summary = from_json((run / "summary.json").read_bytes())
    assert summary.audit is not None
    story = msgspec.structs.replace(
        summary.audit.stories[0], vin=NASTY, fate=NASTY, explanation=NASTY, known=[NASTY]
    )
    replace = msgspec.structs.replace
    change(
        run,
        run=replace(summary.run, id=NASTY, scenario=NASTY, target=NASTY, started=NASTY,
                    reasons=[NASTY], command=NASTY),
        thresholds=[replace(t, metric=NASTY, condition=NASTY) for t in summary.thresholds],
        audit=replace(summary.audit, stories=[story], fates={NASTY: 1}, dropped={NASTY: 1}),
        phases=[replace(p, name=NASTY) for p in summary.phases],
        events=[replace(e, kind=NASTY, text=NASTY) for e in summary.events]
        + [replace(summary.events[0], text=NASTY)],
        environment=replace(summary.environment, python=NASTY, platform=NASTY,
                            versions={NASTY: NASTY}),
    )  # fmt: skip
    (run / "scenario.yaml").write_text(NASTY)
    spot = MapSpot(NASTY, 37.0, -122.0, 0.0, "free", "free", 0.5)
    nasty_map = CityMap([[37.0, -122.0, 37.1, -122.0]], [spot], NASTY)
    (run / "map.json").write_bytes(msgspec.json.encode(nasty_map))
    text, page = rendered(run)
    assert "alert(" in page.text
    assert not re.search(r"<script>alert", text, re.IGNORECASE)
    assert page.scripts.count(None) == 1
    console = Console(file=StringIO(), width=200)
    console.print(summary_table(from_json((run / "summary.json").read_bytes())))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"│ · {NASTY}" in shown
    assert f"{NASTY}: {NASTY}" in shown


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("map.json", "This run wrote no map.json."),
        ("timeseries.parquet", "This run wrote no timeseries.parquet."),
        ("scenario.yaml", "The run folder has no scenario.yaml."),
    ],
)
def test_a_missing_file_is_a_sentence(run: Path, file: str, sentence: str) -> None:
    (run / file).unlink()
    assert sentence in rendered(run)[1].text


def test_a_broker_alone_has_no_map(run: Path) -> None:
    (run / "map.json").unlink()
    audit = from_json((run / "summary.json").read_bytes()).audit
    assert audit is not None
    change(run, audit=msgspec.structs.replace(audit, archived=None, applied=None), accuracy=None)
    text = rendered(run)[1].text
    assert "A broker alone has no parking map" in text
    assert "The map was not compared" not in text


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("map.json", "The map could not be read: map.json: "),
        ("timeseries.parquet", "timeseries.parquet could not be read: "),
        ("map_history.json", "The map during the run could not be read: map_history.json: "),
        ("ledger.parquet", "no heat map. ledger.parquet could not be read: "),
    ],
)
def test_a_file_cut_short_is_a_sentence(run: Path, file: str, sentence: str) -> None:
    whole = (run / file).read_bytes()
    (run / file).write_bytes(whole[: len(whole) // 2])
    assert sentence in rendered(run)[1].text


def test_a_run_that_was_interrupted_early(run: Path) -> None:
    for file in [*run.glob("*.hgrm"), run / "map.json", *run.glob("*.parquet")]:
        file.unlink()
    summary = from_json((run / "summary.json").read_bytes())
    summary = change(
        run,
        run=msgspec.structs.replace(summary.run, verdict="interrupted", exit_code=130, reasons=[]),
        metrics={}, thresholds=[], audit=None, accuracy=None, phases=[], events=[],
    )  # fmt: skip
    page = rendered(run)[1]
    for sentence in ("Interrupted", "The scenario sets none.", "No stage has a latency.",
                     "ended before its messages could be audited", "wrote no .hgrm file",
                     "no phases and no events", "The map was not compared"):  # fmt: skip
        assert sentence in page.text, sentence
    console = Console(file=StringIO(), width=100)
    console.print(summary_table(summary))
    assert "no latency was measured" in console.file.getvalue()  # type: ignore[attr-defined]


def test_an_overloaded_generator_is_the_first_thing_said(run: Path) -> None:
    summary = from_json((run / "summary.json").read_bytes())
    overloaded = msgspec.structs.replace(summary.run, verdict="generator_overloaded", exit_code=4)
    summary = change(run, run=overloaded)
    text = rendered(run)[1].text
    first = text.index("the generator was overloaded")
    assert first < text.index("these figures describe the generator") < text.index("audit_lost")
    console = Console(file=StringIO(), width=120)
    console.print(summary_table(summary))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "the generator was overloaded" in lines[1]


def test_an_empty_map_and_a_huge_one() -> None:
    assert "The map is empty" in city.figure(CityMap([], []), "")
    states = ("free", "occupied", "unknown")
    spots = [
        MapSpot(f"S{i:06d}", 37.8 + i // 400 * 1e-4, -122 + i % 400 * 1e-4, 90.0,
                states[i % 2], states[i % 3], 0.25)
        for i in range(2 * city.MOST_SPOTS + 1)
    ]  # fmt: skip
    drawn = city.figure(CityMap([], spots), "")
    assert f"One stall in 3 is drawn, of {len(spots):,}." in drawn
    assert len(re.findall(r"M[\d.]+ [\d.]+l", drawn)) == -(-len(spots) // 3)
    kept = city.figure(CityMap([], spots[: city.MOST_SPOTS]), "")
    assert "is drawn, of" not in kept
    assert len(kept) < 1_800_000


@pytest.mark.parametrize("width", [60, 100])
def test_the_terminal_says_what_matters(run: Path, width: int) -> None:
    console = Console(file=StringIO(), width=width)
    console.print(summary_table(from_json((run / "summary.json").read_bytes()), Path("r/i.html")))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for wanted in ("Failed: a threshold was broken", "40 of 40 vehicles", "2 lost", "visible",
                   "FAILED", "r/i.html"):  # fmt: skip
        assert wanted in text, wanted
    assert "2 unexplained" in re.sub(r"[│\s]+", " ", text)


def test_every_verdict_has_its_words(run: Path) -> None:
    summary = from_json((run / "summary.json").read_bytes())
    for verdict, code in EXIT_CODES.items():
        change(run, run=msgspec.structs.replace(summary.run, verdict=verdict, exit_code=code))
        text, _ = rendered(run)
        assert ("verdict good" in text) == (verdict == "passed")


def test_figures_read_at_different_moments_of_a_second_are_lines(run: Path) -> None:
    """Gauges are read some milliseconds after the second that a message's figure has."""
    path = run / "timeseries.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in [row for row in rows if row["name"] == "connected"]:
        late = 0.2 if row["t_s"] == 7 else 0.0006
        rows.append({"t_s": row["t_s"] + late, "name": "event_loop_lag_ms", "value": 2.0})
    pq.write_table(pa.Table.from_pylist(rows), path)
    text, _ = rendered(run)
    figure = text[text.index('id="lateness-chart"') :]
    paths = re.findall(r'<path d="([^"]*)" class="line', figure)[:2]
    assert [path.count("M") for path in paths] == [1, 1]
    assert min(path.count("L") for path in paths) > 10
