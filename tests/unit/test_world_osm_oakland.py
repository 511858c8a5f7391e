"""The streets of West Oakland, from its extract of OpenStreetMap."""

import numpy as np
import pytest
from osm_maps import WEST_OAKLAND, assert_stalls_are_where_they_may_be

from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.scenario.model import Phase, Scenario, VehicleGroup
from fleet_sim.scenario.units import Duration
from fleet_sim.world import City, World
from fleet_sim.world import osm as reader
from fleet_sim.world.fleet import CRUISING
from fleet_sim.world.network import build

pytestmark = pytest.mark.skipif(
    not WEST_OAKLAND.is_file(), reason="the extract of real streets is not beside the repository"
)


@pytest.fixture(scope="module")
def oakland() -> City:
    return City.from_osm(WEST_OAKLAND, 1)


def test_real_streets_are_whole(oakland: City) -> None:
    extract = reader.read(WEST_OAKLAND)
    net = build(extract)
    kept_km = sum(np.hypot(*np.diff(s.line, axis=0).T).sum() for s in net.streets) / 1e3
    assert kept_km + net.dropped_km == pytest.approx(46.0, abs=1.0)
    assert len(extract.signals) == 19
    assert np.isfinite(oakland.roads.cost_to_go()).all()
    assert oakland.roads.length.min() >= 18.0
    assert {"7th Street", "Mandela Parkway", "Peralta Street"} <= set(oakland.roads.streets)
    assert (oakland.roads.signal > 0).sum() > 20


def test_real_streets_are_where_the_map_has_them(oakland: City) -> None:
    """Every tenth metre of every lane, against the points and lines of the file."""
    extract = reader.read(WEST_OAKLAND)
    r = oakland.roads
    edge = np.repeat(np.arange(r.n_edges), 5)
    x, y = r.point(edge, np.tile(np.linspace(0.1, 0.9, 5), r.n_edges) * r.length[edge])
    ends = np.array(
        [(*extract.place[a], *extract.place[b]) for way in extract.ways
         for a, b in zip(way.points, way.points[1:], strict=False)]
    )  # fmt: skip
    ax, ay = oakland.projection.to_metres(ends[:, 0], ends[:, 1])
    bx, by = oakland.projection.to_metres(ends[:, 2], ends[:, 3])
    dx, dy = bx - ax, by - ay
    share = ((x[:, None] - ax) * dx + (y[:, None] - ay) * dy) / (dx**2 + dy**2)
    share = np.clip(share, 0.0, 1.0)
    off = np.hypot(ax + share * dx - x[:, None], ay + share * dy - y[:, None]).min(axis=1)
    assert np.median(off) < 2.0
    assert np.quantile(off, 0.95) < 6.0
    assert off.max() < 20.0


def test_stalls_of_real_streets(oakland: City) -> None:
    assert oakland.stalls.n > 4000
    assert_stalls_are_where_they_may_be(oakland)
    arena, market = oakland.venue("arena"), oakland.venue("market")
    assert np.hypot(arena.x, arena.y) < 200
    assert np.hypot(market.x, market.y) > 400


def test_five_hundred_vehicles_drive_on_real_streets() -> None:
    world = World(
        Scenario(
            name="x",
            city=CitySpec(osm=str(WEST_OAKLAND)),
            fleet=(VehicleGroup(group="a", count=500),),
            phases=(Phase(name="p", duration_s=Duration(60)),),
        )
    )
    before = world.fleet.odo.copy()
    crossings = 0
    for _ in range(300):
        edge = world.fleet.edge.copy()
        world.step(0.1)
        crossings += int((edge != world.fleet.edge).sum())
    driving = world.fleet.mode <= CRUISING
    assert (world.fleet.odo - before)[driving].mean() > 30 * 4.0
    assert crossings > 500
    assert world.fleet.clamps < crossings / 50
    # On streets: in its lane, but beside it in a stall.
    x, y = world.fleet.position(np.arange(driving.size))
    left = world.fleet.lanes.left_m[world.fleet.lane]
    assert len(set(left[driving])) > 2
    assert (left <= 3.5 * (world.city.roads.lanes[world.fleet.edge] - 1)).all()
    lane_x, lane_y = world.city.roads.point(world.fleet.edge, world.fleet.x, -left)
    off = np.hypot(x - lane_x, y - lane_y)
    assert off[driving].max() < 0.5
    assert (world.fleet.x <= world.city.roads.length[world.fleet.edge] + 1e-6).all()
    seen = world.observe(np.arange(world.n))
    assert (np.abs(seen.lat - world.city.projection.lat0) < 0.02).all()
