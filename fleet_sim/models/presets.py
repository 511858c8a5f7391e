"""Vehicles and radios by name, each figure with its source.

EPA figures: MY2022 test-car data (target coefficients and equivalent test weight). Usable pack
energies are assumptions near the makers' nominal figures, less a reserve. A car of your own is a
`VehiclePreset` that you construct; its fields are checked.
"""

from dataclasses import replace
from math import inf
from typing import TypeVar

from fleet_sim.models.battery_charging import ChargeCurve
from fleet_sim.models.battery_climate import Heating
from fleet_sim.models.battery_pack import Chemistry
from fleet_sim.models.battery_road import RoadLoad
from fleet_sim.models.battery_vehicle import VehiclePreset
from fleet_sim.models.radio import Place, RadioPreset

_T = TypeVar("_T")


VEHICLES: dict[str, VehiclePreset] = {
    preset.name: preset
    for preset in (
        VehiclePreset(
            "model3_rwd",
            RoadLoad.from_epa(37.17, 0.0470, 0.01440, 4250),
            usable_kwh=57.5,
            ac_kw=11.0,
            length_m=4.69,
            width_m=1.85,
            motor_kw=239.0,
            regen_kw=80.0,
            heating=Heating.HEAT_PUMP,
            chemistry=Chemistry.LFP,
            cells=106,
            dc_curve=ChargeCurve.of(
                (0.0, 100.0),
                (0.01, 170.0),
                (0.11, 168.0),
                (0.2, 129.0),
                (0.3, 105.0),
                (0.5, 77.0),
                (0.7, 50.0),
                (0.8, 40.0),
                (0.9, 28.0),
                (1.0, 5.0),
            ),
            source="P: road load, EPA MY2022 Model 3 RWD; motor power, FASTSim's 2022 Model 3 RWD; "
            "AC power, heat pump, LFP cells, maker; DC curve to 20 % and its mean from 10 to 80 % "
            "(76 kW), evkx.net. A: usable energy (60 kWh pack), cells in series (340 V), regen, "
            "DC curve from 30 %",
        ),
        VehiclePreset(
            "leaf_30",
            RoadLoad.from_epa(25.89, 0.3449, 0.01945, 3875),
            usable_kwh=28.0,
            ac_kw=6.6,
            length_m=4.45,
            width_m=1.77,
            motor_kw=80.0,
            regen_kw=50.0,
            dc_curve=ChargeCurve.of(
                (0.0, 44.0), (0.1, 45.0), (0.7, 45.0), (0.8, 35.0), (0.9, 20.0), (1.0, 4.0)
            ),
            source="P: road load, EPA MY2022 Leaf (base, a heavier 40 kWh car); motor, AC "
            "power, 96 cells in series, maker; resistive heater, FASTSim's 2016 Leaf; most DC "
            "power, lecircuitelectrique.com (nearly 45 kW). A: usable energy (30 kWh pack), "
            "regen, DC knots (maker: 80 % in about 30 min)",
        ),
        VehiclePreset(
            "bolt_2017",
            RoadLoad.from_epa(30.51, 0.0152, 0.02151, 3875),
            usable_kwh=57.0,
            ac_kw=7.2,
            length_m=4.17,
            width_m=1.77,
            motor_kw=150.0,
            regen_kw=70.0,
            dc_curve=ChargeCurve.of(
                (0.0, 48.0),
                (0.05, 50.0),
                (0.5, 50.0),
                (0.55, 38.0),
                (0.64, 37.0),
                (0.67, 24.0),
                (0.85, 23.0),
                (0.9, 13.0),
                (1.0, 4.0),
            ),
            source="P: road load, EPA MY2022 Bolt EV; motor and AC power, 96 cells in series, "
            "resistive heater, maker; DC about 50 kW with a taper from 50-55 %, and 19/39/73 min "
            "to 25/50/75 % of 66 kWh (InsideEVs). A: usable energy (60 kWh pack of 2017), regen, "
            "DC knots above 50 %",
        ),
    )
}
"""By name. `source` has P for published figures, A for assumptions; lengths and widths are the
makers', and the packs' 0.04 ohm is measured on PyBaMM's cells."""

_LTE = RadioPreset(
    name="lte_urban",
    rtt_median_s=0.050,
    rtt_log_sigma=0.4,
    uplink_kbps=6_300,
    downlink_kbps=21_300,
    throughput_log_sigma=0.8,
    handover_m=600.0,
    handover_gap_s=0.040,
    handover_gap_log_sigma=0.5,
    handover_failure=0.02,
    failure_s=(1.0, 3.0),
    correlation_m=50.0,
    places=(
        Place(0.746, 0.0, 4.0),
        Place(0.250, 0.012, 4.0, rtt_factor=1.5, throughput_factor=0.3),
        Place(0.004, 0.5, 10.0, rtt_factor=2.0, throughput_factor=0.1),
    ),
    outage_shape=0.6,
    delay_below_s=0.1,
    source="RTT 44-66 ms by operator, means of 6.3 Mbit/s up and 21.3 down: published (Opensignal, "
    "USA, 2019; taken as medians). Gap 40 ms, median: published (Lauridsen 2017). Failures of "
    "1-3 s, k about 0.6 (Karner 2007): published. Shadowing over 50 m: published (3GPP TR 38.901, "
    "urban macro). Weak places: so many that over 20 % of standing links are down more than 10 min "
    "a day (published, IMC 2014). Handover each 0.6 km, failed ones, spreads, holes, factors: "
    "assumptions",
)

WIRED = replace(
    _LTE,
    name="none",
    rtt_median_s=1e-9,
    rtt_log_sigma=0.0,
    uplink_kbps=1e9,
    downlink_kbps=1e9,
    throughput_log_sigma=0.0,
    handover_m=inf,
    places=(Place(1.0, 0.0, 1.0), Place(0.0, 0.0, 1.0), Place(0.0, 0.0, 1.0)),
    source="No radio at all: nothing is delayed, and nothing fails by itself",
)
"""What `radio: none` is. Not one of `RADIOS`."""

RADIOS: dict[str, RadioPreset] = {
    preset.name: preset
    for preset in (
        _LTE,
        replace(
            _LTE,
            name="5g_urban",
            rtt_median_s=0.025,
            uplink_kbps=15_000,
            downlink_kbps=90_000,
            handover_m=400.0,
            handover_failure=0.015,
            places=(
                Place(0.847, 0.0, 3.0),
                Place(0.150, 0.012, 3.0, rtt_factor=2.0, throughput_factor=0.2),
                Place(0.003, 0.5, 8.0, rtt_factor=3.0, throughput_factor=0.1),
            ),
            source="90 Mbit/s down: middle of 45-143 (published, Opensignal, five US cities, two "
            "operators). Gap, failures, k, shadowing as lte_urban. RTT half of LTE's (Opensignal "
            "saw no gain in early networks), uplink, handover each 0.4 km, places: assumptions",
        ),
        replace(
            _LTE,
            name="rural",
            rtt_median_s=0.080,
            rtt_log_sigma=0.6,
            uplink_kbps=3_700,
            downlink_kbps=15_000,
            throughput_log_sigma=1.0,
            handover_m=2_500.0,
            handover_failure=0.03,
            correlation_m=120.0,
            places=(
                Place(0.58, 0.0, 6.0),
                Place(0.38, 0.03, 6.0, rtt_factor=1.5, throughput_factor=0.3),
                Place(0.04, 0.5, 20.0, rtt_factor=2.0, throughput_factor=0.1),
            ),
            source="15 Mbit/s down, 3.7 up: published (Opensignal, rural USA, distant and remote). "
            "Shadowing over 120 m: published (3GPP TR 38.901, rural macro). Gap, failures, k as "
            "lte_urban. RTT, handover each 2.5 km, places with 3 % of the time down: assumptions",
        ),
        replace(
            _LTE,
            name="lte_simple",
            handover_m=inf,
            places=(Place(1.0, 0.005, 2.0), Place(0.0, 0.005, 2.0), Place(0.0, 0.005, 2.0)),
            outage_shape=1.0,
            delay_below_s=0.0,
            source="Gilbert-Elliott: lte_urban's round trips and throughput, outages of 2 s in the "
            "mean and 0.5 % of the time, everywhere and always alike: assumption",
        ),
    )
}


def vehicle(name: str) -> VehiclePreset:
    """The vehicle preset of this name; `ValueError` lists the known ones."""
    return _lookup("vehicle", VEHICLES, name)


def radio(name: str) -> RadioPreset:
    """The radio preset of this name; `ValueError` lists the known ones."""
    return _lookup("radio", RADIOS, name)


def _lookup(what: str, known: dict[str, _T], name: str) -> _T:
    if name not in known:
        raise ValueError(f"{what}: {name!r} is not a preset (allowed: {', '.join(sorted(known))})")
    return known[name]
