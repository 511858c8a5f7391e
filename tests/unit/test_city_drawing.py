"""`fleet-sim city`: the drawing has everything that the city has, where it is."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from osm_maps import WEST_OAKLAND, cross, osm

from fleet_sim.cli import main
from fleet_sim.scenario.model import GeneratedCity
from fleet_sim.world import City, drawing

SVG = "{http://www.w3.org/2000/svg}"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def scenario(tmp_path: Path, city: str) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(
        f"name: town\ncity: {city}\nfleet: [{{group: taxis, count: 20, parked: 50%}}]\n"
        "phases: [{name: calm, duration: 30s}]\n"
    )
    return path


def pieces(svg: ET.Element, kind: str) -> np.ndarray:
    """Straight pieces of all paths of a class, [n, 4] metres east and north."""
    data = "".join(p.get("d", "") for p in svg.iter(f"{SVG}path") if p.get("class") == kind)
    rows = [[float(v) for v in t.replace("L", " ").split()] for t in data.split("M")[1:]]
    return np.array(rows).reshape(-1, 4) * [1, -1, 1, -1]


def middles(svg: ET.Element, kind: str) -> np.ndarray:
    lines = pieces(svg, kind)
    return (lines[:, :2] + lines[:, 2:]) / 2


def words(svg: ET.Element) -> set[str]:
    return {"".join(t.itertext()) for t in svg.iter(f"{SVG}text")}


def test_everything_is_drawn_once_in_its_place() -> None:
    city = City.generate(GeneratedCity(blocks=(4, 4)), 1)
    occupied = np.arange(city.stalls.n) % 3 == 0
    svg = ET.fromstring(drawing.svg(city, "a & <b>", occupied=occupied))
    at = np.stack((city.stalls.x, city.stalls.y), axis=1)
    assert middles(svg, "stall free") == pytest.approx(at[~occupied], abs=0.11)
    assert middles(svg, "stall taken") == pytest.approx(at[occupied], abs=0.11)
    # Two ways, one surface: 40 blocks' sides, 8 of them arterial.
    assert (len(pieces(svg, "road")), len(pieces(svg, "road main"))) == (32, 8)
    dots = [c.get("class") for c in svg.iter(f"{SVG}circle")]
    # Signals where the two arterials meet, and where they meet the border: collectors.
    assert (dots.count("go1"), dots.count("go2"), dots.count("venue")) == (8, 8, 2)
    assert {"arena", "market", "north", "south", "east", "west", "1st Ave", "Elm St"} <= words(svg)
    assert svg.findtext(f"{SVG}title") == "a & <b>"
    assert not pieces(svg, "way").size


def test_one_way_streets_have_an_arrow_in_the_direction_of_travel(tmp_path: Path) -> None:
    ring = {1: (0.0, 0.0), 2: (200.0, 0.0), 3: (200.0, 200.0), 4: (0.0, 200.0)}
    one = {"highway": "residential", "name": "A &lt;&amp;&gt; B", "oneway": "-1"}
    text = osm(ring, [((1, 2), one), ((2, 3, 4, 1), {"highway": "residential"})])
    (tmp_path / "ring.osm").write_text(text)
    svg = ET.fromstring(drawing.svg(City.from_osm(tmp_path / "ring.osm", 1), "ring"))
    shaft, *barbs = pieces(svg, "way")
    assert len(barbs) == 2
    assert shaft == pytest.approx([4.0, -100.0, -4.0, -100.0], abs=0.2)
    assert "A <&> B" in words(svg)
    assert any("© OpenStreetMap contributors" in text for text in words(svg))


def test_the_command_draws_an_svg_and_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    points = {9: (900.0, 0.0), 10: (1000.0, 0.0)}
    lonely = osm(points, [((9, 10), {"highway": "residential"})]).splitlines()[1:-1]
    text = cross(signals=[1]).replace("</osm>", "\n".join(lonely)) + "</osm>"
    text = text.replace('<way id="1"', '<way id="3"', 1)
    (tmp_path / "maps" / "town.osm").write_text(text)
    out = tmp_path / "town.svg"
    done = invoke("city", scenario(tmp_path, "{osm: maps/town.osm}"), "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{out}: 0.6 km of street, 5 crossings, 1 with signals, ")
    assert "stalls; left out: 0.1 km of street that cannot be both reached and left" in done.stdout
    svg = ET.fromstring(out.read_text())
    assert not middles(svg, "vehicle parked").size
    assert "town · © OpenStreetMap contributors, ODbL" in words(svg)


def test_vehicles_are_drawn_after_a_while_parked_ones_in_taken_stalls(tmp_path: Path) -> None:
    out = tmp_path / "town.svg"
    path = scenario(tmp_path, "{generate: {blocks: [3, 3]}}")
    done = invoke("city", path, "--after", "2s", "--out", out)
    assert done.exit_code == 0, done.output
    svg = ET.fromstring(out.read_text())
    modes = ("driving", "cruising", "parked", "charging")
    assert sum(len(middles(svg, f"vehicle {mode}")) for mode in modes) == 20
    taken = middles(svg, "stall taken")
    for spot in middles(svg, "vehicle parked"):
        assert np.hypot(*(taken - spot).T).min() < 0.3
    for spot in middles(svg, "vehicle driving"):
        # Streets lie at multiples of 100 m from the corner; a lane is 1.75 m beside the middle,
        # and the kerb lane of an arterial, which lies at 200 m, 3.5 m farther.
        beside = np.abs((spot + 150 + 50) % 100 - 50)
        on_arterial = np.abs(spot - 50).min() < 8.0
        want = (1.75, 5.25) if on_arterial else (1.75,)
        assert min(abs(beside.min() - w) for w in want) < 0.5
    first = out.read_text()
    invoke("city", path, "--after", "2s", "--out", out)
    assert out.read_text() == first


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "town.html"
    assert invoke("city", scenario(tmp_path, "{}"), "--out", out).exit_code == 0
    page = out.read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("<svg ") == 1
    for outside in ("src=", "href=", "@import", "url("):
        assert outside not in page
    assert page.replace("http://www.w3.org/2000/svg", "").count("http") == 0


NO_STREETS = '<osm version="0.6"></osm>'


@pytest.mark.parametrize("command", ["city", "run", "validate"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no such file"),
        ("", "not a whole OpenStreetMap file"),
        ("hello", "not a whole OpenStreetMap file"),
        (NO_STREETS, "has no street that cars may use"),
    ],
)
def test_a_bad_map_is_one_line_and_exit_code_2(
    command: str, text: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = scenario(tmp_path, "{osm: town.osm}")
    if text is not None:
        (tmp_path / "town.osm").write_text(text)
    done = invoke(command, path)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {path}: city.osm: ")
    assert reason in line
    assert "town.osm" in line
    assert {p.name for p in tmp_path.iterdir()} <= {"x.yaml", "town.osm"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--out", "x.png"], "--out: x.png is not allowed (allowed: a name ending with .svg"),
        (["--after", "soon"], "--after: 'soon'"),
        (["--out", "none/x.svg"], "--out: none/x.svg: cannot be written: No such file"),
    ],
)
def test_a_wrong_option_is_named(
    arguments: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("city", scenario(tmp_path, "{}"), *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {named}"), done.stderr


@pytest.mark.skipif(
    not WEST_OAKLAND.is_file(), reason="the extract of real streets is not beside the repository"
)
def test_real_streets_are_drawn_with_their_vehicles(tmp_path: Path) -> None:
    out = tmp_path / "real.svg"
    path = scenario(tmp_path, f"{{osm: {WEST_OAKLAND.resolve()}}}")
    done = invoke("city", path, "--after", "5s", "--out", out)
    assert done.exit_code == 0, done.output
    svg = ET.fromstring(out.read_text())
    assert len(pieces(svg, "stall free")) + len(pieces(svg, "stall taken")) > 4000
    assert len(pieces(svg, "vehicle driving")) >= 5
    assert {"7th Street", "Peralta Street", "Mandela Parkway"} <= words(svg)
