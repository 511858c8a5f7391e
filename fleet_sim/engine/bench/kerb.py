"""What a fleet's passes say of where cars may park: `fleet-sim bench parking --learn`.

The processor's own way of laying samples along a street is used, on a map that knows the streets
and no stall: every metre to the right of every lane is a place.
"""

import math
from typing import Any

import msgspec
import numpy as np

from fleet_sim.contract import RegistrySpot, SpotRegistry
from fleet_sim.engine.bench.parking import GENERATED, Case, Cloud, fleet_of, records
from fleet_sim.measure.kerb import KerbScore, Pass, kerb_score, learn
from fleet_sim.models.arrays import BoolArray, FloatArray
from fleet_sim.world.city import City
from fleet_sim.world.stalls import CELL_M, LANE_TO_STALL_M


class KerbResult(msgspec.Struct, frozen=True):
    case: Case
    vehicles: int
    passes_per_h: float
    score: KerbScore


def places(city: City) -> tuple[SpotRegistry, BoolArray]:
    """Every metre of kerb as a place of its own, named by its number; and which are legal."""
    roads, stalls = city.roads, city.stalls
    n = stalls.cell_stall.size
    cells = np.diff(np.append(stalls.cell_first, n))
    edge = np.repeat(np.arange(roads.n_edges), cells)
    within = np.arange(n) - stalls.cell_first[edge]
    along: FloatArray = np.asarray(within * CELL_M + CELL_M / 2, dtype=np.float64)
    x, y = roads.point(edge, along, LANE_TO_STALL_M)
    lat, lon = city.projection.to_degrees(x, y)
    spots = [
        RegistrySpot(
            id=str(i),
            lat=float(lat[i]),
            lon=float(lon[i]),
            bearing_deg=float(roads.bearing_deg[edge[i]]),
            length_m=CELL_M,
            lane_offset_m=LANE_TO_STALL_M,
            street="",
        )
        for i in range(n)
    ]
    of = stalls.cell_stall
    legal = of >= 0
    off = np.abs(stalls.offset[of[legal]] - along[legal])
    legal[legal] = off <= stalls.length[of[legal]] / 2
    return SpotRegistry("kerb", spots), legal


def learn_kerb(case: Case) -> KerbResult:
    """Drive `case.hours` and learn from all of them."""
    cloud = Cloud.load()
    scenario, world = fleet_of(case)
    registry, truth = places(world.city)
    index = cloud.spots.SpotIndex(registry)
    tracks: dict[str, Any] = {}
    passes: list[Pass] = []
    seconds = round(case.hours * 3600)
    for sent in records(scenario, world, 1, seconds):
        for record in sent:
            held = tracks.get(record.vin) or cloud.track.Track()
            tracks[record.vin], stretches = cloud.track.advance(
                held, record.run, [record], index.near_cm
            )
            for stretch in stretches:
                heard = cloud.matching.heard(index, stretch)
                if heard:
                    names, near, passed = zip(*heard, strict=True)
                    cell = np.array([int(name) for name in names])
                    passes.append(Pass(cell, np.array(near), np.array(passed)))
    learned = learn(passes, world.city.stalls.cell_first, truth.size)
    known = learned.passes[learned.known]
    return KerbResult(
        case=case,
        vehicles=world.n,
        passes_per_h=float(known.mean()) / case.hours if known.size else math.nan,
        score=kerb_score(learned, truth),
    )


def cases(osm: list[str]) -> list[Case]:
    """What `--learn` drives."""
    return [Case(city=city, penetration=0.06, hours=4.0) for city in (GENERATED, *osm)]
