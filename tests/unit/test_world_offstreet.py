"""Garages and charging stations: who gets in, who waits, what is sensed there."""

import numpy as np
import pytest

from fleet_sim.models.gnss_reckoning import RECKONED
from fleet_sim.scenario.model import (
    Charging,
    City,
    Garages,
    GeneratedCity,
    Parking,
    Phase,
    Scenario,
    VehicleGroup,
)
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.world import City as Town
from fleet_sim.world import World, search
from fleet_sim.world.fleet import CHARGING, CRUISING, PARKED
from fleet_sim.world.offstreet import OffStreet
from fleet_sim.world.sites import GARAGE, STATION


def world(city: City, count: int = 40, soc: float = 0.7, occupancy: float = 0.6) -> World:
    group = VehicleGroup(
        group="a", count=count, parked=Fraction(0.0), soc=(Fraction(soc), Fraction(soc))
    )
    parking = Parking(occupancy=Fraction(occupancy))
    phases = (Phase(name="a", duration_s=Duration(3600.0), parking=parking),)
    return World(Scenario(name="t", seed=4, city=city, fleet=(group,), phases=phases))


GRID = GeneratedCity(blocks=(6, 5))


def test_sites_lie_apart_at_streets_of_their_own() -> None:
    spec = City(garages=Garages(count=4, capacity=70), charging=Charging(stations=3, points=5))
    city = Town.generate(GeneratedCity(), 1, spec)
    sites = city.sites
    assert sites.name[:4] == ("garage 1", "garage 2", "garage 3", "garage 4")
    assert sites.kind.tolist() == [GARAGE] * 4 + [STATION] * 3
    assert sites.capacity.tolist() == [70] * 4 + [5] * 3
    assert np.unique(sites.edge).size == 7
    assert (city.roads.length[sites.edge] >= 30.0).all()
    away = np.hypot(sites.x, sites.y)
    assert away[0] < 100.0
    for kind in (GARAGE, STATION):
        x, y = sites.x[sites.of(kind)], sites.y[sites.of(kind)]
        apart = np.hypot(x[:, None] - x, y[:, None] - y)
        assert apart[~np.eye(x.size, dtype=bool)].min() > 250.0
    # Right of the lane, behind the kerb.
    lane_x, lane_y = city.roads.point(sites.edge, sites.offset)
    assert np.hypot(sites.x - lane_x, sites.y - lane_y) == pytest.approx(26.0)


def test_a_small_city_has_fewer() -> None:
    city = Town.generate(GeneratedCity(blocks=(1, 1)), 1, City(garages=Garages(count=30)))
    assert 0 < city.sites.n <= city.roads.n_edges
    assert np.unique(city.sites.edge).size == city.sites.n


def test_who_finds_no_stall_parks_in_a_garage_without_satellites_or_radio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "GIVE_UP_S", 20.0)
    town = world(City(generate=GRID, cars=0, garages=Garages(count=2)), occupancy=1.0)
    fleet, truth = town.fleet, town.garage_truth
    fleet.parks[:] = True
    before = int(truth.occupied.sum())
    seen_inside = 0
    for _ in range(700):
        speed, outside = fleet.v.copy(), fleet.site < 0
        town.step(0.5)
        # Nobody drives in faster than on the approach, and most at walking speed.
        assert (speed[outside & (fleet.site >= 0)] < 7.0).all()
        inside = np.flatnonzero(fleet.site >= 0)
        assert (fleet.mode[inside] == PARKED).all()
        assert (fleet.stall[inside] < 0).all()
        held = truth.holder[truth.holder >= 0]
        assert sorted(held.tolist()) == inside.tolist()
        if inside.size:
            assert not town.radio_up[inside].any()
            seen = town.observe(inside)
            assert not seen.sonar_ok.any()
            seen_inside += int((seen.fix == RECKONED).sum())
            x, y = fleet.position(inside)
            site = fleet.site[inside]
            sites = town.city.sites
            assert np.hypot(x - sites.x[site], y - sites.y[site]).max() < 15.0
    assert seen_inside > 10
    # Some went in and out again, by the timeline.
    assert (truth.by >= 0).sum() > 5
    assert (~truth.now_occupied).sum() > 2
    assert truth.initial.sum() == before
    # A garage's places are no stalls: the cloud is told of none.
    assert len(town.city.to_registry().spots) == town.city.stalls.n


def test_a_full_garage_turns_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "GIVE_UP_S", 5.0)
    garages = Garages(count=1, capacity=3, occupancy=Fraction(0.0))
    town = world(City(generate=GRID, cars=0, garages=garages), count=80, occupancy=1.0)
    town.fleet.parks[:] = True
    for _ in range(500):
        town.step(0.5)
        assert (town.fleet.site >= 0).sum() <= 3
    assert town._trips.given_up > 0
    assert town.garage_truth.by.size > 0


def test_a_station_charges_as_many_as_it_has_points_and_the_others_wait() -> None:
    charging = Charging(stations=1, points=2)
    town = world(City(generate=GRID, cars=0, charging=charging), count=12, soc=0.15)
    fleet = town.fleet
    most = 0
    served: list[int] = []
    for k in range(1200):
        if k % 300 == 299:
            # A minute and a half for the sake of the test, instead of half an hour.
            fleet.soc[served] = np.maximum(fleet.soc[served], 0.795)
        soc, stood = fleet.soc.copy(), fleet.mode == CHARGING
        town.step(0.5)
        there = np.flatnonzero(fleet.mode == CHARGING)
        # Who brakes before the entrance gains a little, too.
        gains = there[(stood & (fleet.soc > soc))[there]]
        assert gains.size <= 2
        served += [i for i in gains.tolist() if i not in served]
        most = max(most, there.size)
    assert most > 4
    assert len(served) > 4
    assert (fleet.soc < 0.82).all()
    # Who is full leaves.
    assert (fleet.mode[served[:2]] <= CRUISING).all()


def test_the_order_at_a_station_is_that_of_arrival() -> None:
    town = world(City(generate=GRID, cars=0, charging=Charging(stations=1, points=1)), soc=0.3)
    fleet = town.fleet
    off: OffStreet = town._trips.off
    station = int(town.city.sites.of(STATION)[0])
    fleet.mode[:3], fleet.site[:3] = CHARGING, station
    off._since_s[:3] = (30.0, 10.0, 20.0)
    before = fleet.soc.copy()
    off.charge(np.arange(3), 0.5)
    assert (fleet.soc > before)[:3].tolist() == [False, True, False]
    fleet.site[1] = -1
    fleet.mode[1] = PARKED
    before = fleet.soc.copy()
    off.charge(np.array([0, 2]), 0.5)
    assert (fleet.soc > before)[:3].tolist() == [False, False, True]
