"""The side sensor's samples: where it was, what stood there then."""

import numpy as np
import pytest

from fleet_sim.models.noise import Noise
from fleet_sim.models.ultrasonic import ULTRASONIC, measure_cm
from fleet_sim.models.ultrasonic_surface import FLANK_RADIUS_M, PATCH_M
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import City, GeneratedCity, Phase, VehicleGroup
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.world import World, beam, sonar
from fleet_sim.world.fleet import PARKED
from fleet_sim.world.truth import BACKGROUND

ONE = np.array([0])


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Surfaces that answer every pulse alike, and silence: for tests of where and when."""

    def always(patch: np.ndarray, sensor_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(patch.size), np.zeros(patch.size)

    monkeypatch.setattr(beam, "patch_draws", always)
    monkeypatch.setattr(beam, "body_strength_db", lambda body: np.zeros(body.size))
    monkeypatch.setattr(sonar, "noise_db", lambda v: np.zeros(np.shape(v)))


class Probe:
    """One vehicle that the test moves by hand along a lane, past stalls it fills by hand."""

    def __init__(self, dt_s: float = 0.1) -> None:
        self.world = World(
            Scenario(
                name="t",
                city=City(generate=GeneratedCity(blocks=(6, 5), legal_kerb=Fraction(1.0))),
                fleet=(VehicleGroup(group="a", count=1, parked=Fraction(0.0)),),
                phases=(Phase(name="a", duration_s=Duration(60.0)),),
            )
        )
        self.fleet, self.kerb, self.dt_s = self.world.fleet, self.world._kerb, dt_s
        self.kerb.free(0.0, np.flatnonzero(self.world.truth.occupied))
        self.kerb.changed_s[:] = -np.inf
        self.world.city.stalls.cell_background_m[:] = np.inf
        self.kerb.things.cell[:] = -1
        self.fleet.lane_bias[:] = 0.0
        self.path = sonar.Path(self.fleet.odo)
        self.now_s = 0.0

    def park(self, stall: int, t_s: float = 0.0) -> None:
        self.kerb.take(t_s, np.array([stall]), np.array([BACKGROUND]))

    def place(self, edge: int, x: float, v: float) -> None:
        self.fleet.edge[0], self.fleet.x[0], self.fleet.v[0] = edge, x, v
        self.fleet.lane[0] = self.fleet.lanes.first[edge]

    def move(self, seconds: float) -> None:
        for _ in range(round(seconds / self.dt_s)):
            way = self.fleet.v[0] * self.dt_s
            self.fleet.odo[0] += way
            self.fleet.x[0] += way
            length = self.world.city.roads.length[self.fleet.edge[0]]
            if self.fleet.x[0] >= length:
                self.fleet.x[0] -= length
                self.fleet.prev_edge[0] = self.fleet.edge[0]
                self.fleet.edge[0] = self.fleet.next_edge[0]
                self.fleet.lane[0] = self.fleet.lanes.first[self.fleet.edge[0]]
            self.now_s += self.dt_s
            self.path.push(self.now_s, self.fleet.odo)

    def sense(self, seed: int = 0) -> tuple[np.ndarray, bool]:
        draws = Noise(seed).at(ONE, 0)
        cm, on = sonar.sense(self.fleet, self.kerb, self.path, ONE, self.now_s, draws)
        return cm[0], bool(on[0])


def stall_with_neighbours(probe: Probe) -> int:
    """A stall amid its edge."""
    stalls = probe.world.city.stalls
    middle = np.abs(stalls.offset - 50.0)
    return int(middle.argmin())


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("v", [4.0, 8.0, 13.0])
@pytest.mark.parametrize("dt_s", [0.05, 0.1, 0.5])
def test_a_car_looks_as_long_as_it_is_plus_the_footprint(v: float, dt_s: float) -> None:
    probe = Probe(dt_s)
    stall = stall_with_neighbours(probe)
    probe.park(stall)
    stalls, kerb = probe.world.city.stalls, probe.kerb
    spacing = v / ULTRASONIC.rate_hz
    apparent = []
    for shift in np.linspace(0, spacing, 40, endpoint=False):
        probe.place(int(stalls.edge[stall]), 1.0 + shift, v)
        hits = 0.0
        for _ in range(int(80 / v)):
            probe.move(1.0)
            cm, on = probe.sense(seed=int(1e6 * shift) + int(probe.now_s))
            assert on
            # Cross-talk hardly ever reads as near as this car.
            hits += (np.abs(cm - 100 * (kerb.side[0, stall] - 0.9)) < 12).sum()
        apparent.append(hits * spacing)
    range_m = kerb.side[0, stall] - 0.9
    footprint = 2 * range_m * np.tan(np.radians(15))
    expected = 2 * kerb.half[0, stall] + footprint
    assert np.mean(apparent) == pytest.approx(expected, abs=max(0.2, spacing / 2))


@pytest.mark.usefixtures("plain")
def test_the_last_sample_is_one_delay_ago_and_the_first_19_spacings_before_it() -> None:
    probe = Probe()
    stall = stall_with_neighbours(probe)
    probe.park(stall)
    edge = int(probe.world.city.stalls.edge[stall])
    rear = probe.kerb.centre[0, stall] - probe.kerb.half[0, stall]
    assert sonar.delay_s(ONE)[0] == pytest.approx(0.05)
    probe.place(edge, rear - 10.0 + 1.0, 10.0)
    probe.move(1.0)
    seen = np.array([probe.sense(seed)[0] for seed in range(60)])
    often = (seen > 0).mean(axis=0)
    # It is 1 m past the car's rear end and was 0.5 m past it 50 ms ago: this sample and the one
    # before hit.
    assert often[-1] > 0.9
    assert (often[:-2] < 0.1).all()


@pytest.mark.usefixtures("plain")
def test_what_changed_within_the_second_is_seen_as_it_was() -> None:
    probe = Probe()
    stall = stall_with_neighbours(probe)
    edge, centre = int(probe.world.city.stalls.edge[stall]), probe.world.city.stalls.offset[stall]
    probe.place(edge, centre - 2.6, 1.0)
    probe.move(3.0)
    probe.park(stall, t_s=probe.now_s - 0.525)
    often = np.mean([probe.sense(seed)[0] > 0 for seed in range(60)], axis=0)
    assert (often[:10] < 0.1).all()
    assert (often[10:] > 0.85).all()
    probe.kerb.free(probe.now_s - 0.275, np.array([stall]))
    often = np.mean([probe.sense(seed)[0] > 0 for seed in range(60)], axis=0)
    assert (often[15:] < 0.1).all()
    assert (often[11:15] > 0.85).all()


@pytest.mark.usefixtures("plain")
def test_samples_before_a_crossing_are_of_the_edge_before() -> None:
    probe = Probe()
    stalls, roads = probe.world.city.stalls, probe.world.city.roads
    edge = int(stalls.edge[stall_with_neighbours(probe)])
    last = int(stalls.first[edge + 1]) - 1
    probe.park(last)
    # Closer to the corner than stalls are, so that one second spans the car and the crossing.
    probe.kerb.centre[0, last] = roads.length[edge] - 4.0
    ahead = int(roads.out[roads.head[edge]][0])
    probe.fleet.next_edge[0] = ahead
    probe.place(edge, roads.length[edge] - 9.0, 10.0)
    probe.move(1.0)
    assert probe.fleet.edge[0] == ahead
    often = np.mean([probe.sense(seed)[0] > 0 for seed in range(60)], axis=0)
    assert often.max() > 0.9
    where = np.flatnonzero(often > 0.5)
    # From 9 m before the crossing at 10 m/s: the car's 1.7-6.3 m before it are 0.27-0.73 s in.
    assert where.min() == pytest.approx(20 * 0.27, abs=1.6)
    assert where.max() == pytest.approx(20 * 0.73, abs=1.6)


@pytest.mark.parametrize(("v", "on"), [(0.5, False), (1.0, True), (15.2, True), (15.4, False)])
def test_the_sensor_is_on_between_walking_pace_and_55_km_h(v: float, on: bool) -> None:
    probe = Probe()
    probe.place(0, 20.0, v)
    assert probe.sense()[1] is on


def test_a_parked_vehicle_does_not_sense() -> None:
    probe = Probe()
    probe.place(0, 20.0, 5.0)
    probe.fleet.mode[0] = PARKED
    cm, on = probe.sense()
    assert not on
    assert (cm == 0).all()


@pytest.mark.usefixtures("plain")
def test_before_it_pulled_out_it_saw_nothing() -> None:
    probe = Probe()
    stall = stall_with_neighbours(probe)
    probe.park(stall)
    centre = probe.world.city.stalls.offset[stall]
    probe.place(int(probe.world.city.stalls.edge[stall]), centre - 2.0, 2.0)
    probe.move(1.0)
    probe.fleet.on_road_since_s[0] = probe.now_s - 0.525
    often = np.mean([probe.sense(seed)[0] > 0 for seed in range(60)], axis=0)
    assert (often[:10] < 0.1).all()
    assert (often[10:] > 0.85).all()


@pytest.mark.usefixtures("plain")
def test_things_behind_the_kerb_are_seen_where_no_car_is() -> None:
    probe = Probe()
    stalls = probe.world.city.stalls
    stalls.cell_background_m[:] = 4.7
    probe.place(0, 30.0, 5.0)
    probe.move(1.0)
    cm = probe.sense()[0]
    assert np.median(cm[cm > 0]) == pytest.approx(380, abs=3)


@pytest.mark.usefixtures("plain")
def test_a_car_in_a_driveway_is_seen_like_any_other() -> None:
    probe = Probe()
    things, stalls = probe.kerb.things, probe.world.city.stalls
    car = int(np.flatnonzero(things.is_car & things.standing)[0])
    edge, centre = int(things.edge[car]), float(things.centre[car])
    probe.place(edge, centre - 4.0, 5.0)
    probe.move(0.8)
    assert (probe.sense()[0][10:] == 0).mean() > 0.8
    things.cell[stalls.cell(np.full(9, edge), centre + np.arange(-4.0, 5.0))] = car
    cm = probe.sense()[0]
    assert np.median(cm[-8:]) == pytest.approx(100 * (things.side[car] - 0.9), abs=12)


def met(probe: Probe, stall: int, s: np.ndarray, when: float = np.inf) -> beam.Met:
    edge = np.full(s.size, probe.world.city.stalls.edge[stall])
    found = beam.meet(probe.kerb, edge, s, np.full(s.size, 0.9), np.full(s.size, when))
    order = np.argsort(found.at)
    return beam.Met(*(column[order] for column in found))


@pytest.mark.usefixtures("plain")
def test_a_flank_mirrors_and_a_corner_is_weaker_and_oblique() -> None:
    probe = Probe()
    stall = stall_with_neighbours(probe)
    probe.park(stall)
    kerb = probe.kerb
    kerb.yaw_deg[0, stall] = 0.0
    end = kerb.centre[0, stall] + kerb.half[0, stall]
    side = kerb.side[0, stall] - 0.9
    found = met(probe, stall, end + side * np.tan(np.radians([-40.0, 10.0, 14.9, 15.1])))
    assert found.at.tolist() == [0, 1, 2]
    assert found.range_m == pytest.approx(side / np.cos(np.radians([0, 10, 14.9])))
    assert found.incidence_deg == pytest.approx([0, 10, 14.9])
    radius = np.array([FLANK_RADIUS_M, beam.CORNER_RADIUS_M, beam.CORNER_RADIUS_M])
    assert found.target_db == pytest.approx(-10 * np.log10(1 + found.range_m / radius))


@pytest.mark.usefixtures("plain")
def test_a_car_that_stands_askew_is_nearer_at_one_end_and_seen_askew() -> None:
    probe = Probe()
    stall = stall_with_neighbours(probe)
    probe.park(stall)
    kerb = probe.kerb
    kerb.yaw_deg[0, stall] = 3.0
    middle = kerb.centre[0, stall]
    found = met(probe, stall, np.array([middle - 1.5, middle, middle + 1.5]))
    assert found.range_m[2] - found.range_m[0] == pytest.approx(3 * np.tan(np.radians(3)))
    assert found.incidence_deg == pytest.approx([3.0] * 3)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("nearer_m", [0.6, -0.6])
def test_of_a_car_and_a_thing_in_one_beam_the_nearer_answers(nearer_m: float) -> None:
    probe = Probe()
    stall = stall_with_neighbours(probe)
    probe.park(stall)
    kerb, things = probe.kerb, probe.kerb.things
    kerb.yaw_deg[0, stall] = 0.0
    s = kerb.centre[0, [stall]]
    cell = kerb.stalls.cell(kerb.stalls.edge[[stall]], s)
    things.cell[cell], things.standing[0], things.centre[0] = 0, True, s[0]
    things.yaw_deg[0], things.side[0] = 0.0, kerb.side[0, stall] - nearer_m
    kerb.stalls.cell_background_m[cell] = 4.9
    found = met(probe, stall, s)
    assert found.at.tolist() == [0]
    assert found.range_m[0] == pytest.approx(kerb.side[0, stall] - 0.9 - max(nearer_m, 0.0))


@pytest.mark.usefixtures("plain")
def test_a_car_that_left_is_where_it_stood() -> None:
    probe = Probe()
    stall = stall_with_neighbours(probe)
    probe.park(stall)
    kerb = probe.kerb
    middle, before = kerb.centre[:1, stall], kerb.side[0, stall] - 0.9
    kerb.free(10.0, np.array([stall]))
    kerb.side[0, stall] = before + 1.9  # where the next one will stand
    kerb.yaw_deg[1, stall] = 0.0
    assert met(probe, stall, middle, when=9.9).range_m == pytest.approx([before])
    assert met(probe, stall, middle, when=10.1).at.size == 0


def test_each_vehicle_has_its_own_delay_of_50_to_100_ms() -> None:
    delays = sonar.delay_s(np.arange(2000))
    assert delays.min() >= 0.05
    assert delays.max() <= 0.10
    assert np.histogram(delays, 10, (0.05, 0.10))[0] == pytest.approx(np.full(10, 200), abs=2)
    assert (sonar.delay_s(np.array([7, 7])) == delays[7]).all()


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.9])
def test_a_sensors_cycle_lies_between_the_messages_moments(
    phase: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sonar, "_phase", lambda idx: np.full(idx.size, phase))
    assert sonar.delay_s(ONE)[0] == pytest.approx(0.05 + 0.05 * phase)
    probe = Probe()
    stall = stall_with_neighbours(probe)
    probe.park(stall)
    kerb = probe.kerb
    kerb.yaw_deg[0, stall] = 0.0
    footprint = (kerb.side[0, stall] - 0.9) * np.tan(np.radians(15))
    begins = kerb.centre[0, stall] - kerb.half[0, stall] - footprint
    edge = int(probe.world.city.stalls.edge[stall])
    for past, met in ((-0.04, False), (0.04, True)):
        probe.place(edge, begins + past + 10.0 * (0.05 + 0.05 * phase) - 10.0, 10.0)
        probe.move(1.0)
        assert bool(probe.sense()[0][-1] > 0) is met


def lost(probe: Probe, stall: int, along: np.ndarray, sensor: float) -> np.ndarray:
    """Whether a quiet sensor hears nothing of the car `along` m from its middle."""
    k = along.size
    stalls, kerb = probe.world.city.stalls, probe.kerb
    met = beam.echoes(
        kerb,
        np.full(k, stalls.edge[stall]),
        kerb.centre[0, stall] + along,
        np.full(k, sensor),
        np.full(k, np.inf),
        12.0,
    )
    return (
        measure_cm(
            met.range_m,
            np.random.default_rng(1),
            incidence_deg=met.incidence_deg,
            target_db=met.target_db,
            answers=met.answers,
        )
        == 0
    )


def test_echoes_are_lost_by_patches_of_the_car_not_by_pulses() -> None:
    probe = Probe()
    stall = stall_with_neighbours(probe)
    probe.park(stall)
    centres = np.arange(-3, 3) * PATCH_M + PATCH_M / 2
    offsets = np.array([-0.15, 0.15])
    along = (centres[:, None] + offsets).ravel()
    passes = np.array([lost(probe, stall, along, 0.9 + k * 1e-3) for k in range(-120, 120)])
    one, other = passes[:, ::2], passes[:, 1::2]
    assert 0.02 < one.mean() < 0.4
    # Within a patch a lost echo comes with the next one; between patches it tells nothing.
    assert other[one].mean() > 0.6
    assert other[:, 1:][one[:, :-1]].mean() < one.mean() + 0.1


def test_a_vehicle_meets_the_same_patches_in_any_steps() -> None:
    cm = []
    for dt_s in (0.05, 0.1, 0.5):
        probe = Probe(dt_s)
        stall = stall_with_neighbours(probe)
        probe.park(stall)
        edge = int(probe.world.city.stalls.edge[stall])
        probe.place(edge, probe.kerb.centre[0, stall] - 7.0, 10.0)
        probe.move(1.0)
        cm.append(probe.sense()[0])
    assert (cm[0] > 0).sum() >= 4
    assert (cm[0] == cm[1]).all()
    assert (cm[0] == cm[2]).all()


def test_a_fast_vehicle_hears_less() -> None:
    heard = []
    for v in (5.0, 14.0):
        probe = Probe()
        stall = stall_with_neighbours(probe)
        probe.park(stall)
        edge, centre = int(probe.world.city.stalls.edge[stall]), probe.kerb.centre[0, stall]
        near = []
        for k in range(60):
            probe.fleet.lane_bias[0] = (k - 30) * 1e-3
            probe.place(edge, centre + 2.0 - v, v)
            probe.move(1.0)
            # What was sampled within 2 m of the car's middle.
            at = 2.0 - v * (0.05 + np.arange(19, -1, -1) / 20)
            near.append((probe.sense(k)[0] > 0)[np.abs(at) < 2.0].mean())
        heard.append(np.mean(near))
    assert heard[0] > heard[1] + 0.02
