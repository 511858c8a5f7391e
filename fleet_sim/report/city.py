"""The map: streets as lines, stalls coloured by truth, by the API, or by where the two differ.

The stalls are nine SVG paths, one for each pair of truth and answer. Style rules alone recolour
them when another view is chosen, so the map works without the script; the script adds zoom, hover,
and the slider through the map's history, by sorting the stalls into the paths anew.
"""

import math
from collections.abc import Sequence
from itertools import product

from fleet_sim.measure.citymap import CityMap, MapSpot
from fleet_sim.measure.maphistory import STATES, MapHistory, Shot, tally
from fleet_sim.report.axes import clock_text
from fleet_sim.report.html import Html, data, join, missing, table, tag

MOST_SPOTS = 20_000
"""More are thinned out evenly, to keep the file below 3 MB."""
MOST_DIGITS = 800_000
"""Of the history: more shots than that holds are thinned out evenly."""

_EARTH_M = 6_371_008.8
_STALL_M = 5.0
_MARGIN_M = 30.0

_VIEWS = (("difference", "Difference"), ("truth", "Truth"), ("api", "API"))


def figure(city: CityMap, history: MapHistory | str) -> Html:
    """The whole map with its history, or a sentence when there are neither streets nor stalls."""
    if not city.streets and not city.spots:
        return missing("The map is empty: no streets and no stalls were written.")
    every = -(-len(city.spots) // MOST_SPOTS) or 1
    flat = _Plane(city)
    width, height = flat.size
    pairs = list(product(STATES, STATES))
    groups: dict[tuple[str, str], list[int]] = {pair: [] for pair in pairs}
    for i in range(0, len(city.spots), every):
        groups[city.spots[i].truth, city.spots[i].api].append(i)
    order = [i for pair in pairs for i in groups[pair]]
    paths = [
        tag(
            "path",
            d=flat.stalls([city.spots[i] for i in groups[truth, api]]),
            class_=f"stall truth-{truth} api-{api}",
        )
        for truth, api in pairs
    ]
    streets = tag("path", d=flat.streets(city.streets), class_="street")
    drawing = tag(
        "svg",
        streets,
        *paths,
        tag("circle", r=7, cx=-99, cy=-99, class_="picked"),
        id="city-drawing",
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label="Map of the stalls; the table beside it has the same counts",
        preserveAspectRatio="xMidYMid meet",
    )
    views = [
        Html(
            f'<input type="radio" name="view" id="view-{view}"{" checked" if not i else ""}>'
            f'<label for="view-{view}">{label}</label>'
        )
        for i, (view, label) in enumerate(_VIEWS)
    ]
    zoom = [
        tag("button", sign, type="button", data_zoom=step, aria_label=name)
        for sign, step, name in (
            ("+", "in", "Zoom in"),
            ("−", "out", "Zoom out"),
            ("⟲", "all", "Whole map"),
        )
    ]
    how = (
        " Choose the truth, what the API said, or the difference."
        " Zoom with the buttons or Ctrl + wheel, drag to move, point at a stall for what is known."
    )
    shots = _shots(history, len(order))
    if shots:
        how += " The slider goes back through the run."
    caption = ["Stalls at the end of the run.", tag("span", how, class_="screen")]
    if every > 1:
        caption.append(f" One stall in {every} is drawn, of {len(city.spots):,}.")
    return tag(
        "figure",
        *views,
        tag("div", *zoom, tag("span", _scale_text(width), class_="scale"), class_="tools"),
        _slider(shots),
        _legends(),
        tag("div", drawing, tag("div", class_="tip", role="status", hidden=""), class_="canvas"),
        tag("figcaption", *caption, f" {city.attribution}" if city.attribution else ""),
        _table(history),
        # In the order of the paths, so that the script can tell whose piece of a path is whose.
        data(
            {
                "spots": [[city.spots[i].id, round(city.spots[i].p * 100)] for i in order],
                "shots": [[shot.t_s, "".join(shot.states[i] for i in order)] for shot in shots],
                "pairs": pairs,
            }
        ),
        class_="map",
        id="city-map",
    )


def _shots(history: MapHistory | str, drawn: int) -> list[Shot]:
    if isinstance(history, str) or not drawn:
        return []
    every = -(-len(history.shots) * drawn // MOST_DIGITS) or 1
    return history.shots[::every]


def _slider(shots: Sequence[Shot]) -> Html:
    """Shown by the script: without it there is nothing that it could do."""
    if not shots:
        return Html("")
    last = len(shots)
    return tag(
        "div",
        tag("button", "▶", type="button", class_="play", aria_label="Play"),
        tag("label", "Time", for_="map-time"),
        Html(
            f'<input type="range" id="map-time" min="0" max="{last}" value="{last}" step="1"'
            ' aria-controls="city-drawing">'
        ),
        tag("output", "end of the run", for_="map-time"),
        class_="time",
        hidden="",
    )


def _table(history: MapHistory | str) -> Html:
    """The history in numbers, for who sees no map, and for paper."""
    if isinstance(history, str):
        return missing(history)
    rows = []
    for shot in history.shots:
        found = tally(shot.states)
        rows.append(
            (
                clock_text(shot.t_s),
                f"{found.occupied:,}",
                f"{found.api_occupied:,}",
                f"{found.wrong:,}",
                f"{found.unknown:,}",
                "–" if math.isnan(found.accuracy) else f"{100 * found.accuracy:.1f} %",
            )
        )
    head = ("at (min:s)", "occupied", "API: occupied", "wrong", "unknown", "accuracy")
    return tag(
        "details",
        tag("summary", f"The map at {len(rows)} times, in numbers"),
        table("Stalls by time, of those whose truth is known", head, rows),
    )


def _legends() -> Html:
    entries = {
        "difference": [
            ("agree-free", "free, and the API says so"),
            ("agree-occupied", "occupied, and the API says so"),
            ("wrong", "the API is wrong"),
            ("unknown", "the API does not know"),
        ],
        "truth": [("agree-free", "free"), ("agree-occupied", "occupied")],
        "api": [("agree-free", "free"), ("agree-occupied", "occupied"), ("unknown", "unknown")],
    }
    return join(
        tag(
            "ul",
            *(tag("li", tag("span", class_=f"chip {name}"), " ", text) for name, text in items),
            class_=f"legend for-{view}",
        )
        for view, items in entries.items()
    )


def _scale_text(width_m: int) -> str:
    text = f"{width_m / 1000:.1f} km" if width_m >= 1000 else f"{width_m} m"
    return f"the whole map is {text} wide"


class _Plane:
    """Degrees to metres on a plane that touches the city: x east, y south, from its north-west."""

    def __init__(self, city: CityMap) -> None:
        lats = [v for street in city.streets for v in street[0::2]] + [s.lat for s in city.spots]
        lons = [v for street in city.streets for v in street[1::2]] + [s.lon for s in city.spots]
        self._north, self._west = max(lats), min(lons)
        middle = math.radians((min(lats) + max(lats)) / 2)
        self._y_m = math.radians(1) * _EARTH_M
        self._x_m = self._y_m * math.cos(middle)
        self.size = (
            math.ceil((max(lons) - self._west) * self._x_m + 2 * _MARGIN_M),
            math.ceil((self._north - min(lats)) * self._y_m + 2 * _MARGIN_M),
        )

    def _at(self, lat: float, lon: float) -> tuple[float, float]:
        return (
            (lon - self._west) * self._x_m + _MARGIN_M,
            (self._north - lat) * self._y_m + _MARGIN_M,
        )

    def streets(self, lines: Sequence[Sequence[float]]) -> str:
        """Path data with whole metres."""
        return "".join(
            "M"
            + "L".join(
                "{:.0f} {:.0f}".format(*self._at(line[i], line[i + 1]))
                for i in range(0, len(line) - 1, 2)
            )
            for line in lines
        )

    def stalls(self, spots: Sequence[MapSpot]) -> str:
        """Each a short line along its street: `M x y l dx dy`."""
        pieces = []
        for spot in spots:
            x, y = self._at(spot.lat, spot.lon)
            bearing = math.radians(spot.bearing_deg)
            dx, dy = _STALL_M * math.sin(bearing), -_STALL_M * math.cos(bearing)
            pieces.append(f"M{x - dx / 2:.1f} {y - dy / 2:.1f}l{dx:.1f} {dy:.1f}")
        return "".join(pieces)
