"""The simulated world: everything that is true, and what vehicles sense of it."""

from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, Int16Array, IntArray
from fleet_sim.models.gnss import COVERED, GnssModel
from fleet_sim.models.noise import Noise
from fleet_sim.models.radio import Throughput
from fleet_sim.models.ultrasonic import NO_ECHO_CM
from fleet_sim.models.ultrasonic_air import Air
from fleet_sim.scenario.catalog import Catalog
from fleet_sim.scenario.model import Phase, Scenario
from fleet_sim.scenario.weather import WeatherChange
from fleet_sim.world import illegal, sonar
from fleet_sim.world.cars import Cars
from fleet_sim.world.city import VENUES, City
from fleet_sim.world.demand import Demand
from fleet_sim.world.equipment import NO_RADIO, Equipment, names_of_presets
from fleet_sim.world.faults import RADIO_UP, RadioFaults
from fleet_sim.world.fleet import CHARGING, CRUISING, DRIVING, PARKED, Fleet
from fleet_sim.world.kerb import Kerb
from fleet_sim.world.sensors import Sensors
from fleet_sim.world.signal import Signal
from fleet_sim.world.sites import GARAGE
from fleet_sim.world.trips import Trips
from fleet_sim.world.truth import Truth
from fleet_sim.world.vin import vin

MODES = ("driving", "parked", "charging")
"""`Observation.mode` indexes these; a vehicle that looks for a stall is driving."""
_MODE_CODE = np.array([0, 0, 1, 2], dtype=np.int8)
MAX_STEP_S = 0.5
"""Longer steps are subdivided: beyond it the following model loses accuracy."""
SETTLE_S = 0.5
"""Energy, trips and lost satellites follow so often: they need no steps as short as the motion's,
and cost small fleets as much as it does."""
_EPS_S = 1e-6
"""Steps of 0.1 s do not add up to whole seconds exactly."""
_SPEED_SIGMA_MPS, _HEADING_SIGMA_DEG = 0.05, 1.0
"""Doppler speed and course of a receiver in motion (assumptions)."""


class Observation(NamedTuple):
    """What k vehicles sense now; arrays of length k."""

    lat: FloatArray
    lon: FloatArray
    acc_m: FloatArray
    """drms that the receiver reports."""
    fix: Int8Array
    """0 no position, 1 dead reckoning, 2 satellite fix."""
    speed_mps: FloatArray
    heading_deg: FloatArray
    """0 to below 360."""
    soc: FloatArray
    mode: Int8Array
    """Index into `MODES`."""
    odo_km: FloatArray
    range_cm: Int16Array
    """[k, 20]: side sensor, oldest first, the last sample now, 0.05 s apart; 0: no echo."""
    sonar_ok: BoolArray
    """Whether the side sensor is on (driving, 1 m/s to 55 km/h); else `range_cm` means nothing."""


class World:
    """One city with its vehicles. Same scenario and seed: the same truth.

    What is observed, and how often, does not change what happens; and what a vehicle senses at a
    moment does not depend on who else is observed (`models.noise`).
    """

    def __init__(self, scenario: Scenario, *, seed: int | None = None) -> None:
        """`ValueError` for a scenario that does not fit its city; `seed` replaces its own."""
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        streams = np.random.SeedSequence(self.seed).spawn(11)
        fleet_rng, trips_rng, kerb_rng, demand_rng, field_rng, gnss_rng, radio_rng, sense_rng = (
            np.random.default_rng(stream) for stream in streams[:8]
        )
        cars_rng, garages_rng, illegal_rng = (
            np.random.default_rng(stream) for stream in streams[8:]
        )
        self.city = City.build(scenario.city, self.seed)
        weather = scenario.weather
        self.air = Air(float(weather.temperature_c), 100.0 * float(weather.humidity))
        """The present weather."""
        ambient_c = self.air.temperature_c
        self.fleet = Fleet(scenario, self.city, fleet_rng, ambient_c=ambient_c)
        self._kerb = Kerb(self.city.stalls, kerb_rng)
        self._trips = Trips(scenario, self.fleet, self._kerb, trips_rng)
        occupancy = scenario.phases[0].parking.occupancy
        assert occupancy is not None  # a scenario gives its first phase one
        character = self.city.character[self.city.stalls.edge]
        self.demand = Demand(self._kerb, float(occupancy), demand_rng, character=character)
        garages = self._trips.off.garages
        share = float(scenario.city.garages.occupancy)
        self._garage_demand = Demand(garages, share, garages_rng)
        self._illegal = illegal.IllegalKerb(self.city.roads, self._kerb.things)
        self._illegal_demand = Demand(
            self._illegal,
            illegal.OCCUPANCY,
            illegal_rng,
            illegal.draw_dwell_s,
            mean_dwell_s=illegal.DWELL_MEAN_S,
        )
        self._cars = Cars(
            self.fleet, self._trips, self.truth, self.demand, self._garage_demand, cars_rng
        )
        equipment = Equipment.of(scenario)
        latitude, groups = self.city.projection.lat0, self.fleet.groups
        self._gnss = GnssModel(equipment.receivers, groups, latitude, field_rng, gnss_rng)
        self._sensors = Sensors(equipment.sensors, groups)
        self._garages = self.city.sites.of(GARAGE).size
        """They are the first of the sites."""
        self._any_cover = bool((self.city.roads.reception == COVERED).any() or self._garages)
        self._track()
        self._signal = Signal(scenario, self.fleet, radio_rng)
        self._noise = Noise.drawn(sense_rng)
        self._tick = 0
        self._path = sonar.Path(self.fleet.odo[: self.n])
        self._settled_s = 0.0
        self.now_s = 0.0
        """Simulated seconds since the first phase began."""
        ends = np.cumsum([float(phase.duration_s) for phase in scenario.phases])
        self._phase_ends: list[float] = ends.tolist()
        self.phase = -1
        """Index of the present phase; the last one goes on after its end."""
        self._faults = RadioFaults(scenario.faults, self.city, self.fleet)
        self.radio_state: Int8Array
        """[n] `RADIO_UP`, `RADIO_OUT`, `RADIO_STALLED` or `RADIO_DOWN`."""
        self.radio_up: BoolArray
        """[n] whether it is `RADIO_UP`."""
        wired = np.array([group.radio == NO_RADIO for group in scenario.fleet])
        self.wired: BoolArray = wired[self.fleet.groups]
        """[n] those without a radio: nothing is delayed, and nothing fails but by a fault."""
        self.vins: list[str] = [
            vin(g, i) for g, group in enumerate(scenario.fleet) for i in range(group.count)
        ]
        self._enter_phases()
        self._apply_faults()

    @property
    def n(self) -> int:
        """Number of vehicles."""
        return self.fleet.n

    @property
    def truth(self) -> Truth:
        return self._kerb.truth

    @property
    def occupied(self) -> BoolArray:
        """[stalls] which are taken now."""
        return self.truth.occupied

    @property
    def illegal_truth(self) -> Truth:
        """As `truth`, of the places at the kerb in which cars stand illegally."""
        return self._illegal.truth

    @property
    def garage_truth(self) -> Truth:
        """As `truth`, of the garages' places. The cloud is told of none of them."""
        return self._trips.off.garages.truth

    @property
    def groups(self) -> IntArray:
        """[n] index into `scenario.fleet`."""
        return self.fleet.groups

    def step(self, dt_s: float) -> None:
        """Advance everything by `dt_s` > 0 simulated seconds."""
        if not 0.0 < dt_s < float("inf"):
            raise ValueError(f"dt_s: {dt_s!r} (allowed: above 0 s)")
        parts = int(np.ceil(dt_s / MAX_STEP_S - 1e-9))
        start = self.now_s
        for part in range(parts):
            self._advance(dt_s / parts, start + dt_s * (part + 1) / parts)

    def _advance(self, dt_s: float, now_s: float) -> None:
        self.now_s = now_s
        self._tick += 1
        self.demand.step(dt_s, now_s)
        self.fleet.drive(dt_s, now_s)
        since_s = now_s - self._settled_s
        if since_s > SETTLE_S - _EPS_S:
            self._settled_s = now_s
            self.fleet.settle(since_s)
            self._trips.step(since_s, now_s)
            self._cars.step(now_s)
            self._garage_demand.step(since_s, now_s)
            self._illegal_demand.step(since_s, now_s)
            self._track()
        self._gnss.step(dt_s)
        self._signal.step(dt_s)
        self._path.push(now_s, self.fleet.odo[: self.n])
        self._enter_phases()
        self._apply_faults()

    def _track(self) -> None:
        # Only a cover takes the sky away, so cities without one do not pay for this.
        if self._any_cover:
            self._gnss.track(self._reception(slice(self.n)), self.fleet.position)

    def _reception(self, idx: IntArray | slice) -> IntArray:
        """Class of reception where the vehicles `idx` are."""
        fleet = self.fleet
        found = self.city.roads.reception[fleet.edge[idx]]
        if self._garages:
            site = fleet.site[idx]
            found[(site >= 0) & (site < self._garages)] = COVERED
        return found

    def _enter_phases(self) -> None:
        while self.phase + 1 < len(self._phase_ends):
            start = self._phase_ends[self.phase] if self.phase >= 0 else 0.0
            if self.now_s + _EPS_S < start:
                return
            self.phase += 1
            self._begin_phase(self.scenario.phases[self.phase], start)

    def _begin_phase(self, phase: Phase, start_s: float) -> None:
        duration, parking = float(phase.duration_s), phase.parking
        if phase.weather is not None:
            self._weather(phase.weather)
        if self.phase > 0 and parking.occupancy is not None:
            self.demand.shift_to(float(parking.occupancy), start_s, duration)
        event = parking.event
        self._trips.surge(None, None)
        if event is None:
            return
        venue = self.city.venue(event.at)
        if event.attendance is not None:
            before = duration / 3 if event.peak_before_s is None else float(event.peak_before_s)
            self.demand.attract(venue.x, venue.y, event.attendance, start_s, duration, before)
            self._trips.surge(venue.x, venue.y)
        if event.leaves is not None:
            self.demand.disperse(float(event.leaves), start_s, duration)

    def _weather(self, change: WeatherChange) -> None:
        ambient_c, humidity = change.temperature_c, change.humidity
        self.air = Air(
            self.air.temperature_c if ambient_c is None else float(ambient_c),
            self.air.humidity_pct if humidity is None else 100.0 * float(humidity),
        )
        self.fleet.battery.set_ambient(self.air.temperature_c)

    def _apply_faults(self) -> None:
        up = self._signal.up
        if self._garages:
            site = self.fleet.site[: self.n]
            inside = (site >= 0) & (site < self._garages)
            if inside.any():
                up = up & (~inside | self.wired)
        self.radio_state = self._faults.state(up, self.now_s)
        self.radio_up = self.radio_state == RADIO_UP

    def observe(self, idx: IntArray, *, side_sensor: bool = True) -> Observation:
        """What the vehicles `idx` [k] sense now. Without the side sensor, which costs most, it is
        off; all else is the same."""
        fleet = self.fleet
        x, y = fleet.position(idx)
        edge = fleet.edge[idx]
        seen = self._gnss.observe(idx, x, y, self._reception(idx))
        east, north = seen.error_m.T
        lat, lon = self.city.projection.to_degrees(x + east, y + north)
        draws = self._noise.at(idx, self._tick)
        noise = draws.standard_normal((idx.size, 2)).T
        moving = fleet.v[idx] > 0.0
        speed = np.maximum(fleet.v[idx] + _SPEED_SIGMA_MPS * noise[0] * moving, 0.0)
        heading = self.city.roads.bearing_deg[edge] + _HEADING_SIGMA_DEG * noise[1]
        if side_sensor:
            range_cm, sonar_ok = self._sensors.sense(
                fleet, self._kerb, self._path, idx, self.now_s, draws, self.air
            )
        else:
            range_cm = np.full((idx.size, sonar.SAMPLES), NO_ECHO_CM, dtype=np.int16)
            sonar_ok = np.zeros(idx.size, dtype=np.bool_)
        return Observation(
            lat=lat,
            lon=lon,
            acc_m=seen.acc_m,
            fix=seen.fix,
            speed_mps=speed,
            heading_deg=heading % 360.0,
            soc=fleet.soc[idx],
            mode=_MODE_CODE[fleet.mode[idx]],
            odo_km=fleet.odo[idx] / 1000.0,
            range_cm=range_cm,
            sonar_ok=sonar_ok,
        )

    def rtt_s(self, idx: IntArray) -> FloatArray:
        """A fresh round trip time for each vehicle `idx` [k], s; `inf` while `radio_up` is not.

        Within a handover it holds the rest of the gap: a gap delays, and loses nothing.
        """
        return np.where(self.radio_up[idx], self._signal.links.rtt_s(idx), np.inf)

    def throughput_bps(self, idx: IntArray) -> Throughput:
        """A fresh throughput for each vehicle `idx` [k], bit/s; 0 while `radio_up` is not."""
        uplink, downlink = self._signal.links.throughput_bps(idx)
        up = self.radio_up[idx]
        return Throughput(uplink * up, downlink * up)

    def counts(self) -> dict[str, int]:
        """How many vehicles do what, and how the stalls are."""
        modes = np.bincount(self.fleet.mode[: self.n], minlength=4)
        occupied = int(self.truth.occupied.sum())
        return {
            "driving": int(modes[DRIVING]),
            "cruising": int(modes[CRUISING]),
            "parked": int(modes[PARKED]),
            "charging": int(modes[CHARGING]),
            "radio_down": int(self.n - self.radio_up.sum()),
            "stalls": self.city.stalls.n,
            "occupied_stalls": occupied,
            "free_stalls": self.city.stalls.n - occupied,
            "turned_away": self.demand.turned_away,
        }


def catalog() -> Catalog:
    """The preset names that a scenario may use."""
    return Catalog(**names_of_presets(), venues=VENUES)
