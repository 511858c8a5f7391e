"""Long runs in virtual time: the world's statistics, and that they do not depend on the step."""

from pathlib import Path

import numpy as np
import pytest

from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.scenario.model import GeneratedCity, Parking, Phase, VehicleGroup
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.validation._parking_search import cruising, watch
from fleet_sim.validation.parking import (
    LAWS,
    TARGETS,
    arrivals_per_minute,
    dispersion,
    dwell_hazard,
    erlang_b,
    loss_system,
)
from fleet_sim.world import City, World
from fleet_sim.world.demand import Demand
from fleet_sim.world.fleet import CRUISING, PARKED
from fleet_sim.world.kerb import Kerb
from fleet_sim.world.sonar import delay_s
from fleet_sim.world.truth import BACKGROUND

WEST_OAKLAND = Path(__file__).parents[2] / ".." / "shared" / "data" / "west-oakland.osm.bz2"


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("erlangs", TARGETS)
def test_ten_stalls_behave_as_erlangs_loss_system(erlangs: float, law: str) -> None:
    """Erlang-B does not depend on the dwell's law, and ours is far from exponential."""
    p_full, occupancy = TARGETS[erlangs]
    assert erlang_b(erlangs, 10) == pytest.approx((p_full, occupancy), abs=0.001)
    full, held = loss_system(erlangs, LAWS[law], 40_000, seed=2)
    # The mean of 10,000 draws of so heavy a tail is known to 3 %, that of the others to 1 %.
    near = 0.035 if law == "heavy tail" else 0.02
    assert full == pytest.approx(p_full, abs=near)
    assert held == pytest.approx(occupancy, abs=near)


def test_arrivals_are_poisson_with_a_rate_that_changes() -> None:
    counts, expected = arrivals_per_minute(1500, seed=5)
    assert np.ptp(expected) > 2.0
    assert dispersion(counts, expected) == pytest.approx(1.0, abs=0.1)
    assert counts.sum() == pytest.approx(expected.sum(), rel=0.03)


def test_the_hazard_of_dwell_is_not_constant() -> None:
    rate = dwell_hazard(20_000, seed=7)
    assert rate.max() > 2.0 * rate.min()


def test_trips_cruise_seldom_at_moderate_and_long_at_crowded_occupancy() -> None:
    moderate, crowded = watch(0.68, 400.0, seed=4), watch(0.97, 400.0, seed=4)
    excess = moderate.cruised(0.5, 0.8)
    assert excess.size > 80
    assert excess.min() > -1.0  # no way is shorter than the shortest
    assert cruising(excess) < 0.15
    assert moderate.mean_s(0.5, 0.8) < 40.0
    assert crowded.occupancy > 0.95
    assert crowded.mean_s(0.95, 1.0) > 180.0


@pytest.mark.parametrize("target", [0.3, 0.6, 0.85])
def test_background_occupancy_stays_at_its_target(target: float) -> None:
    """For 12 h: a wrong residual dwell or rate would let it drift."""
    city = City.generate(GeneratedCity(blocks=(8, 8)), 1)
    kerb = Kerb(city.stalls, np.random.default_rng(2))
    demand = Demand(kerb, target, np.random.default_rng(3))
    seen = []
    for k in range(1, 12 * 60 + 1):
        demand.step(60.0, 60.0 * k)
        seen.append((kerb.truth.holder == BACKGROUND).mean())
    assert np.mean(seen) == pytest.approx(target, abs=0.03)
    assert np.ptp(seen) < 0.12


def town(seed: int, blocks: tuple[int, int] = (9, 9), vehicles: int = 250) -> World:
    group = VehicleGroup(group="a", count=vehicles, parked=Fraction(0.2))
    return World(
        Scenario(
            name="t",
            seed=seed,
            city=CitySpec(generate=GeneratedCity(blocks=blocks), cars=0),
            fleet=(group,),
            phases=(
                Phase(
                    name="a",
                    duration_s=Duration(600.0),
                    parking=Parking(occupancy=Fraction(0.6)),
                ),
            ),
        )
    )


def statistics(dt_s: float) -> dict[str, float]:
    """Means over 8 min after a minute of settling: one town with as many vehicles and streets as
    three of the usual ones, in a third of their time."""
    world = town(1, blocks=(16, 16), vehicles=750)
    parked, down = [], []
    for _ in range(round(60 / dt_s)):
        world.step(dt_s)
    odo, used = world.fleet.odo.copy(), world.fleet.energy_j.copy()
    for k in range(round(480 / dt_s)):
        world.step(dt_s)
        if k % round(5 / dt_s) == 0:
            parked.append((world.fleet.mode == PARKED).mean())
            down.append(1 - world.radio_up.mean())
    way = (world.fleet.odo - odo).sum()
    return {
        "speed_mps": float(way / 480 / world.n),
        "energy_j_m": float((world.fleet.energy_j - used).sum() / way),
        "parked": float(np.mean(parked)),
        "parkings": float((world.truth.by >= 0).sum()),
        "down": float(np.mean(down)),
    }


def test_statistics_do_not_depend_on_the_step() -> None:
    fine, coarse = statistics(0.1), statistics(0.5)
    assert coarse["speed_mps"] == pytest.approx(fine["speed_mps"], rel=0.06)
    assert coarse["energy_j_m"] == pytest.approx(fine["energy_j_m"], rel=0.08)
    assert coarse["parked"] == pytest.approx(fine["parked"], rel=0.20)
    assert coarse["parkings"] == pytest.approx(fine["parkings"], rel=0.15)
    assert coarse["down"] == pytest.approx(fine["down"], abs=0.003)
    # And they are those of a city: 15-35 km/h with stops, and `parked` as the scenario says.
    assert 4.0 < fine["speed_mps"] / (1 - fine["parked"]) < 10.0
    assert fine["parked"] == pytest.approx(0.2, abs=0.07)


def test_traffic_does_not_lock_when_it_is_dense() -> None:
    """39 m of lane a vehicle: a fifth of what stands still bumper to bumper."""
    group = VehicleGroup(group="a", count=1000, parked=Fraction(0.1))
    city = CitySpec(generate=GeneratedCity(blocks=(9, 8)), cars=0)
    phases = (Phase(name="a", duration_s=Duration(60.0)),)
    world = World(Scenario(name="t", city=city, fleet=(group,), phases=phases))
    for _ in range(2400):
        world.step(0.5)
    before = world.fleet.odo.copy()
    for _ in range(240):
        world.step(0.5)
    moved = (world.fleet.odo - before).sum() / 120 / world.n
    assert moved > 2.0


@pytest.mark.skipif(not WEST_OAKLAND.is_file(), reason="the extract is not beside the repository")
def test_500_vehicles_do_not_jam_west_oakland() -> None:
    """They drove 3.5 m/s after ten minutes while drivers lost patience at red lights."""
    group = VehicleGroup(group="a", count=500, parked=Fraction(0.1))
    phases = (Phase(name="a", duration_s=Duration(900.0)),)
    city = CitySpec(osm=str(WEST_OAKLAND))
    world = World(Scenario(name="t", city=city, fleet=(group,), phases=phases))
    for _ in range(2 * 600):
        world.step(0.5)
    fleet = world.fleet
    speeds = []
    for _ in range(2 * 300):
        world.step(0.5)
        speeds.append(fleet.v[fleet.mode <= CRUISING].mean())
    assert np.mean(speeds) > 5.5
    assert (fleet.wait_s < 90.0).all()


def test_the_sensor_tells_taken_stalls_from_free_ones() -> None:
    """What ParkNet's depth threshold makes of single samples from the lane at the kerb, at the
    places where they were taken."""
    world = town(5)
    stalls, fleet = world.city.stalls, world.fleet
    echo: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(60):
        for _ in range(10):
            world.step(0.1)
        idx = np.flatnonzero(fleet.mode <= 1)
        seen = world.observe(idx)
        near = (seen.range_cm[:, -1] > 0) & (seen.range_cm[:, -1] < 228)
        at = fleet.x[idx] - fleet.v[idx] * delay_s(idx)
        cell = stalls.cell(fleet.edge[idx], np.clip(at, 0.0, 99.999))
        stall = stalls.cell_stall[cell].astype(np.int64)
        amid = seen.sonar_ok & (stall >= 0) & (at > 0.0) & (fleet.right_m(idx) > -1.0)
        amid &= np.abs(at - stalls.offset[stall]) < 1.2
        taken = world.truth.occupied[stall]
        for state, found in echo.items():
            found.extend(near[amid & (taken == state)].tolist())
    assert min(len(found) for found in echo.values()) > 400
    assert np.mean(echo[True]) == pytest.approx(0.93, abs=0.03)
    assert np.mean(echo[False]) < 0.02
