"""Weather and equipment in the world: what a scenario says is what its vehicles have."""

import numpy as np
import pytest

from fleet_sim.models import VEHICLES
from fleet_sim.models.battery_climate import auxiliary_w
from fleet_sim.models.battery_pack import resistance_ratio
from fleet_sim.models.noise import Noise
from fleet_sim.models.ultrasonic import ULTRASONICS
from fleet_sim.models.ultrasonic_air import Air
from fleet_sim.scenario import loads
from fleet_sim.world import World
from fleet_sim.world.sensors import Sensors

HEAD = """
name: t
seed: 5
city: {generate: {blocks: [4, 4]}}
"""


def world(rest: str) -> World:
    return World(loads(HEAD + rest))


def drive(made: World, seconds: float) -> World:
    for _ in range(round(seconds / 0.5)):
        made.step(0.5)
    return made


FLEET = "fleet: [{group: a, count: 40, vehicle: leaf_30, parked: 0%}]\n"
ONE_PHASE = "phases: [{name: p, duration: 1m}]\n"


def test_the_default_is_20_degrees_and_50_per_cent() -> None:
    made = world(FLEET + ONE_PHASE)
    assert made.air == Air(20.0, 50.0)
    assert made.fleet.battery.resistance_ratio == pytest.approx(float(resistance_ratio(20.0)))


def test_cold_takes_energy_and_leaves_the_drive_as_it_was() -> None:
    mild = drive(world(FLEET + ONE_PHASE + "weather: {temperature: 22C}\n"), 40)
    cold = drive(world(FLEET + ONE_PHASE + "weather: {temperature: -7C}\n"), 40)
    assert (mild.fleet.odo == cold.fleet.odo).all()
    more = (cold.fleet.energy_j - mild.fleet.energy_j)[: mild.n].mean() / 40
    heater = float(auxiliary_w(VEHICLES["leaf_30"].heating, -7.0)) - 250.0
    assert heater < more < 1.3 * heater  # thicker air and colder packs come on top


def test_each_phase_has_its_weather_and_keeps_what_it_does_not_name() -> None:
    made = world(
        FLEET + "weather: {temperature: -7C, humidity: 80%}\n"
        "phases: [{name: a, duration: 5s}, {name: b, duration: 5s, weather: {temperature: 3C}}, "
        "{name: c, duration: 5s}, {name: d, duration: 5s, weather: {humidity: 30%}}]\n"
    )
    seen = []
    for _ in range(4):
        seen.append((made.air.temperature_c, round(made.air.humidity_pct)))
        ratio = float(resistance_ratio(made.air.temperature_c))
        assert made.fleet.battery.resistance_ratio == ratio
        drive(made, 5)
    assert seen == [(-7.0, 80), (3.0, 80), (3.0, 80), (3.0, 30)]


def test_the_first_phase_may_have_a_weather_of_its_own() -> None:
    made = world(FLEET + "phases: [{name: p, duration: 1m, weather: {temperature: 35C}}]\n")
    assert made.air.temperature_c == 35.0
    assert made.fleet.battery.resistance_ratio == float(resistance_ratio(35.0))


def test_a_sensor_without_a_thermometer_reads_too_far_in_the_cold() -> None:
    fleet = "fleet: [{group: a, count: 60, parked: 0%, sensor: SENSOR}]\n"
    ratio = {}
    for sensor in ("hrxl_48k", "bare"):
        readings = []
        for temperature in ("-20C", "20C"):
            made = drive(
                world(
                    fleet.replace("SENSOR", sensor) + ONE_PHASE
                    + f"weather: {{temperature: {temperature}}}\n"
                    "presets: {sensors: {bare: {compensated: false}}}\n"
                ),
                20,
            )  # fmt: skip
            readings.append(made.observe(np.arange(made.n)).range_cm.astype(float))
        both = (readings[0] > 40) & (readings[1] > 40) & (readings[0] < 450)
        ratio[sensor] = np.median(readings[0][both] / readings[1][both])
    assert ratio["hrxl_48k"] == pytest.approx(1.0, abs=0.01)
    assert ratio["bare"] == pytest.approx(1.076, abs=0.01)  # +7.6 % at -20 °C


def test_each_group_senses_with_what_it_has() -> None:
    made = drive(
        world(
            "fleet: [{group: a, count: 30, parked: 0%}, "
            "{group: b, count: 30, parked: 0%, sensor: none, receiver: rough}, "
            "{group: c, count: 30, parked: 0%, sensor: parknet}]\n"
            + ONE_PHASE
            + "presets: {receivers: {rough: {base: phone, noise: 60m}}}\n"
        ),
        20,
    )
    seen = made.observe(np.arange(made.n))
    a, b, c = (made.groups == g for g in range(3))
    assert seen.sonar_ok[a].sum() > 5
    assert not seen.sonar_ok[b].any()
    assert (seen.range_cm[b] == 0).all()
    # What is so far away is rarely met, and rarely heard.
    cm = np.stack([drive(made, 2).observe(np.arange(made.n)).range_cm for _ in range(10)])
    assert cm[:, a].max() <= 500 < cm[:, c].max() <= 648
    assert seen.acc_m[b].min() > 60 > seen.acc_m[~b].max()


def test_what_a_vehicle_senses_does_not_depend_on_the_sensors_of_others() -> None:
    made = drive(world(FLEET + ONE_PHASE), 20)
    hrxl, parknet = ULTRASONICS["hrxl_48k"], ULTRASONICS["parknet"]
    everyone = np.arange(made.n)
    half = (everyone % 2).astype(np.int64)

    def sense(sensors: Sensors, idx: np.ndarray) -> np.ndarray:
        draws = Noise(7).at(idx, 3)
        return sensors.sense(made.fleet, made._kerb, made._path, idx, made.now_s, draws, made.air)[
            0
        ]

    alone = sense(Sensors([hrxl], np.zeros_like(half)), everyone)
    mixed = sense(Sensors([hrxl, parknet], half), everyone)
    part = sense(Sensors([hrxl, None], half), everyone[10:30])
    assert (mixed[half == 0] == alone[half == 0]).all()
    assert (mixed[half == 1] != alone[half == 1]).any()
    assert (part[half[10:30] == 0] == alone[10:30][half[10:30] == 0]).all()


def test_two_states_drive_the_radio() -> None:
    made = world(
        "fleet: [{group: a, count: 400, radio: bad}]\n"
        + ONE_PHASE
        + "presets: {radios: {bad: {base: lte_urban, kind: gilbert_elliott, p: 0.2, r: 0.2}}}\n"
    )
    down = []
    for _ in range(20):
        made.step(2.0)
        down.append((~made.radio_up).mean())
    assert np.mean(down) == pytest.approx(0.5, abs=0.05)
