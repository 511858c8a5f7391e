"""A city as a picture: SVG text, and a page around it that pans and zooms.

One unit of the drawing is a metre; y grows to the south, as SVG has it.
"""

from html import escape
from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray
from fleet_sim.models.gnss import COVERED
from fleet_sim.world.city import City
from fleet_sim.world.roads import LANE_WIDTH_M, Roads
from fleet_sim.world.sites import DEPTH_M
from fleet_sim.world.stalls import STALL_HALF_WIDTH_M
from fleet_sim.world.traffic import STOP_LINE_M

MARGIN_M = 60.0
_CAR_M, _CAR_WIDTH_M = 4.6, 1.8
_VENUE_M = 20.0
_MODES = ("driving", "cruising", "parked", "charging", "car")
CAR = 4
"""`Vehicles.mode` of one that is not of the fleet, on the road."""
_LABEL_FROM_M = 70.0
"""Streets' names are written along edges of at least this length."""

_COLOURS = {
    "free": "#8fc79a",
    "taken": "#b9aaa0",
    "driving": "#1558b0",
    "cruising": "#e07b00",
    "parked": "#333333",
    "charging": "#b0158f",
    "car": "#8a8f98",
}
_STYLE = """
svg{background:#f4f2ec;font-family:system-ui,sans-serif}
.road{fill:none;stroke:#fff;stroke-linecap:round}
.edge{fill:none;stroke:#c9c4b8;stroke-linecap:round}
.main{stroke:#fdf0c4}
.way{fill:none;stroke:#7d8794;stroke-width:.5}
.scale{stroke:#555;stroke-width:2}
.stall{fill:none;stroke-width:%(stall)s}
.go1{fill:#c8372d}.go2{fill:#2d6cc8}
.cover{fill:none;stroke:#555;stroke-opacity:.45}
.garage{fill:#5a4a8a}.station{fill:#1f8a4c}
.venue{fill:#7a3fa0;fill-opacity:.25;stroke:#7a3fa0;stroke-width:2}
.district{stroke:#9aa;stroke-width:2;stroke-dasharray:14 10}
.vehicle{fill:none;stroke-width:%(car)s}
.name{fill:#555;font-size:5px;text-anchor:middle}
.big{fill:#444;font-size:%(big)spx;font-weight:600}
.small{fill:#444;font-size:%(small)spx}
"""

_SCRIPT = """
const s=document.querySelector('svg'),whole=s.viewBox.baseVal,b=[whole.x,whole.y,whole.width,
whole.height];let v=[...b];
const show=()=>s.setAttribute('viewBox',v.join(' '));
const at=e=>{const p=new DOMPoint(e.clientX,e.clientY).matrixTransform(s.getScreenCTM().inverse());
return[p.x,p.y]};
const zoom=(f,x,y)=>{if(v[2]*f<20||v[2]*f>b[2]*4)return;v=[x+(v[0]-x)*f,y+(v[1]-y)*f,v[2]*f,v[3]*f];
show()};
s.addEventListener('wheel',e=>{e.preventDefault();zoom(e.deltaY<0?.8:1.25,...at(e))},{passive:false});
let from=null;
s.addEventListener('pointerdown',e=>{from=at(e);s.setPointerCapture(e.pointerId)});
s.addEventListener('pointermove',e=>{if(!from)return;const p=at(e);v[0]+=from[0]-p[0];
v[1]+=from[1]-p[1];show()});
for(const end of['pointerup','pointercancel'])s.addEventListener(end,()=>{from=null});
const middle=f=>zoom(f,v[0]+v[2]/2,v[1]+v[3]/2);
document.getElementById('in').onclick=()=>middle(.7);
document.getElementById('out').onclick=()=>middle(1/.7);
document.getElementById('all').onclick=()=>{v=[...b];show()};
"""


class Vehicles(NamedTuple):
    """n vehicles; `mode` indexes driving, cruising, parked, charging, or is `CAR`."""

    x: FloatArray
    y: FloatArray
    ux: FloatArray
    uy: FloatArray
    mode: Int8Array


def svg(
    city: City,
    title: str,
    *,
    vehicles: Vehicles | None = None,
    occupied: BoolArray | None = None,
) -> str:
    """The drawing; `occupied` [S] colours the stalls, which are all shown free without it."""
    roads = city.roads
    left, top = float(roads.node_x.min()) - MARGIN_M, -float(roads.node_y.max()) - MARGIN_M
    width = float(np.ptp(roads.node_x)) + 2 * MARGIN_M
    height = float(np.ptp(roads.node_y)) + 2 * MARGIN_M
    big = max(9.0, width / 70)
    foot = big * 4.2
    style = _STYLE % {
        "stall": f"{2 * STALL_HALF_WIDTH_M:.1f}",
        "car": f"{_CAR_WIDTH_M:.1f}",
        "big": f"{big:.0f}",
        "small": f"{big * 0.7:.0f}",
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} {top:.0f} {width:.0f} '
        f'{height + foot:.0f}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title><style>{style}</style>",
        f"<style>{''.join(f'.{k}{{stroke:{c}}}' for k, c in _COLOURS.items())}</style>",
        *_districts(left, top, width, height),
        *_streets(roads),
        *_stalls(city, occupied),
        *_one_ways(roads),
        *_covers(roads),
        *_signals(roads),
        *_names(roads),
        *_vehicles(vehicles),
        *_sites(city),
        *_venues(city, big),
        *_legend(city, title, left + big, top + height, big, vehicles is not None),
        "</svg>\n",
    ]
    return "\n".join(parts)


def html(drawing: str, title: str) -> str:
    """One page that needs nothing else: wheel or buttons zoom, dragging moves."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>html,body{{margin:0;height:100%}}"
        "svg{width:100%;height:100vh;display:block;touch-action:none;cursor:grab}"
        "nav{position:fixed;top:8px;right:8px}button{font-size:18px;min-width:36px}</style></head>"
        '<body><nav><button id="in" aria-label="Zoom in">+</button>'
        '<button id="out" aria-label="Zoom out">−</button>'
        '<button id="all" aria-label="Whole city">⟲</button></nav>\n'
        f"{drawing}<script>{_SCRIPT}</script></body></html>\n"
    )


def _lines(x0: FloatArray, y0: FloatArray, x1: FloatArray, y1: FloatArray) -> str:
    """Path data of straight pieces, to a tenth of a metre."""
    rows = np.stack((x0, -y0, x1, -y1), axis=1).tolist()
    return "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for a, b, c, d in rows)


def _path(data: str, kind: str, more: str = "") -> list[str]:
    return [f'<path class="{kind}" d="{data}"{more}/>'] if data else []


def _two_way(roads: Roads) -> BoolArray:
    n = roads.node_x.size
    return np.isin(roads.tail * n + roads.head, roads.head * n + roads.tail)


def _carriageway(roads: Roads, both: BoolArray) -> IntArray:
    """[E] lanes of the whole street, both ways."""
    n = roads.node_x.size
    key = roads.tail * n + roads.head
    order = np.argsort(key, kind="stable")
    back = np.searchsorted(key, roads.head * n + roads.tail, sorter=order)
    return roads.lanes + np.where(both, roads.lanes[order[np.minimum(back, roads.n_edges - 1)]], 0)


def _streets(roads: Roads) -> list[str]:
    """Surfaces around the lanes: first all edges of surfaces, then all surfaces on top."""
    both = _two_way(roads)
    wide_lanes = _carriageway(roads, both)
    found: list[str] = []
    tail, head = roads.tail, roads.head
    for margin, look in ((1.2, "edge"), (0.0, "road")):
        for two in (True, False):
            for main in (False, True):
                alike = (both == two) & (roads.arterial == main)
                if two:
                    alike &= tail < head
                for lanes in np.unique(wide_lanes[alike]).tolist():
                    who = np.flatnonzero(alike & (wide_lanes == lanes))
                    data = _lines(
                        roads.node_x[tail[who]],
                        roads.node_y[tail[who]],
                        roads.node_x[head[who]],
                        roads.node_y[head[who]],
                    )
                    stalls = 2 * (2 * STALL_HALF_WIDTH_M + 0.2)
                    wide = lanes * LANE_WIDTH_M + stalls + margin
                    kind = f"{look} main" if main and look == "road" else look
                    found += _path(data, kind, f' stroke-width="{wide:.1f}"')
    return found


def _stalls(city: City, occupied: BoolArray | None) -> list[str]:
    stalls, roads = city.stalls, city.roads
    taken = np.zeros(stalls.n, dtype=np.bool_) if occupied is None else occupied
    found: list[str] = []
    for kind, who in (("free", np.flatnonzero(~taken)), ("taken", np.flatnonzero(taken))):
        half = stalls.length[who] / 2 - 0.35
        ux, uy = roads.ux[stalls.edge[who]], roads.uy[stalls.edge[who]]
        x, y = stalls.x[who], stalls.y[who]
        data = _lines(x - half * ux, y - half * uy, x + half * ux, y + half * uy)
        found += _path(data, f"stall {kind}")
    return found


def _covers(roads: Roads) -> list[str]:
    """Tunnels, as a shade over their lanes."""
    who = np.flatnonzero(roads.reception == COVERED)
    right = -LANE_WIDTH_M * (roads.lanes[who] - 1) / 2
    x0, y0 = roads.point(who, np.zeros(who.size), right)
    x1, y1 = roads.point(who, roads.length[who], right)
    return _path(_lines(x0, y0, x1, y1), "cover", ' stroke-width="9"')


def _one_ways(roads: Roads) -> list[str]:
    """An arrow in the middle of each edge that cannot be driven the other way."""
    who = np.flatnonzero(~_two_way(roads))
    x, y = roads.point(who, roads.length[who] / 2)
    ux, uy = roads.ux[who], roads.uy[who]
    data = _lines(x - 4 * ux, y - 4 * uy, x + 4 * ux, y + 4 * uy)
    for side in (1.0, -1.0):
        data += _lines(
            x + 4 * ux, y + 4 * uy, x + 2 * ux + 1.4 * side * uy, y + 2 * uy - 1.4 * side * ux
        )
    return _path(data, "way")


def _signals(roads: Roads) -> list[str]:
    """A dot at each stop line; one colour has green while the other waits."""
    who: IntArray = np.flatnonzero(roads.signal > 0)
    x, y = roads.point(who, np.maximum(roads.length[who] - STOP_LINE_M, roads.length[who] / 2))
    return [
        f'<circle class="go{kind}" cx="{a:.1f}" cy="{-b:.1f}" r="1.6"/>'
        for kind, a, b in zip(roads.signal[who].tolist(), x.tolist(), y.tolist(), strict=True)
    ]


def _names(roads: Roads) -> list[str]:
    """Each street's name, along its edges in turn so that it can be read from anywhere near."""
    found = []
    x, y = roads.middle()
    seen: list[tuple[float, float, int]] = []
    for edge in np.argsort(-roads.length, kind="stable").tolist():
        street = int(roads.street_of[edge])
        name = roads.streets[street]
        if roads.length[edge] < _LABEL_FROM_M or name.startswith("unnamed "):
            continue
        here = (float(x[edge]), float(y[edge]))
        if any(s == street and np.hypot(a - here[0], b - here[1]) < 250.0 for a, b, s in seen):
            continue
        seen.append((*here, street))
        turn = float(roads.bearing_deg[edge]) - 90.0
        turn = (turn + 90.0) % 180.0 - 90.0
        found.append(
            f'<text class="name" transform="translate({here[0]:.1f} {-here[1]:.1f}) '
            f'rotate({turn:.1f})" dy="1.7">{escape(name)}</text>'
        )
    return found


def _vehicles(vehicles: Vehicles | None) -> list[str]:
    if vehicles is None:
        return []
    found: list[str] = []
    for code, mode in enumerate(_MODES):
        who = np.flatnonzero(vehicles.mode == code)
        dx, dy = (u[who] * _CAR_M / 2 for u in (vehicles.ux, vehicles.uy))
        x, y = vehicles.x[who], vehicles.y[who]
        found += _path(_lines(x - dx, y - dy, x + dx, y + dy), f"vehicle {mode}")
    return found


def _venues(city: City, size: float) -> list[str]:
    found = []
    for venue in city.venues:
        found.append(
            f'<circle class="venue" cx="{venue.x:.1f}" cy="{-venue.y:.1f}" r="{_VENUE_M:.0f}"/>'
            f'<text class="big" x="{venue.x + 1.2 * _VENUE_M:.1f}" y="{-venue.y + size * 0.3:.1f}">'
            f"{escape(venue.name)}</text>"
        )
    return found


def _sites(city: City) -> list[str]:
    """A square for each garage and station, as large as the space behind the kerb."""
    sites = city.sites
    half = DEPTH_M / 2
    return [
        f'<rect class="{("garage", "station")[kind]}" x="{x - half:.1f}" y="{-y - half:.1f}" '
        f'width="{DEPTH_M:.0f}" height="{DEPTH_M:.0f}" fill-opacity=".45">'
        f"<title>{escape(name)}</title></rect>"
        for name, kind, x, y in zip(
            sites.name, sites.kind.tolist(), sites.x.tolist(), sites.y.tolist(), strict=True
        )
    ]


def _districts(left: float, top: float, width: float, height: float) -> list[str]:
    """The lines between the halves, and their names at the margins."""
    right, bottom = left + width, top + height
    names = (
        ("north", 0.0, top + MARGIN_M / 2, "middle"),
        ("south", 0.0, bottom - MARGIN_M / 4, "middle"),
        ("west", left + 4, -4.0, "start"),
        ("east", right - 4, -4.0, "end"),
    )
    return [
        f'<line class="district" x1="{left:.0f}" y1="0" x2="{right:.0f}" y2="0"/>',
        f'<line class="district" x1="0" y1="{top:.0f}" x2="0" y2="{bottom:.0f}"/>',
        *(
            f'<text class="small" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{name}</text>'
            for name, x, y, anchor in names
        ),
    ]


def _legend(
    city: City, title: str, left: float, top: float, size: float, driven: bool
) -> list[str]:
    words = [("free", "free stall"), ("taken", "taken stall")] if driven else [("free", "stall")]
    words += [(mode, "other car" if mode == "car" else mode) for mode in _MODES] if driven else []
    entries = [f'<tspan fill="{_COLOURS[kind]}">▬</tspan> {text}' for kind, text in words]
    entries += [
        '<tspan class="go1">●</tspan><tspan class="go2">●</tspan> signal, by its half of the cycle',
        '<tspan class="garage">■</tspan> garage <tspan class="station">■</tspan> fast charging',
        "→ one-way",
        '<tspan fill="#999">▬</tspan> tunnel',
    ]
    about = " · ".join(t for t in (title, city.attribution) if t)
    first, second = top + size, top + 2.2 * size
    return [
        f'<text class="small" x="{left:.0f}" y="{first:.0f}">{escape(about)}</text>',
        f'<text class="small" x="{left:.0f}" y="{second:.0f}">{" &#160; ".join(entries)}</text>',
        f'<path class="scale" d="M{left:.0f} {top + 3.2 * size:.0f}h100"/>',
        f'<text class="small" x="{left + 106:.0f}" y="{top + 3.4 * size:.0f}">100 m</text>',
    ]
