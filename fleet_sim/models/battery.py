"""Energy of electric vehicles: driving takes from the pack, braking and charging give back.

Arrays of n vehicles over a few kinds of car. `soc` is stored energy over usable energy; the heat
in the pack's resistance comes out of the store too. The pack has the ambient temperature.
"""

from collections.abc import Sequence

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.models.battery_charging import CHARGER_ETA, charge_power_w
from fleet_sim.models.battery_climate import auxiliary_w
from fleet_sim.models.battery_drivetrain import terminal_power_w
from fleet_sim.models.battery_pack import (
    CELL_MAX_V,
    current_a,
    ocv_table_v,
    resistance_ratio,
    stored_power_w,
    table_ocv_v,
)
from fleet_sim.models.battery_road import (
    MILE_M,
    RoadLoads,
    air_density_ratio,
    wheel_work_j,
)
from fleet_sim.models.battery_vehicle import VehiclePreset

MILD_C = 22.0
"""Ambient temperature at which nothing is heated or cooled."""
_R_OHM = -1
"""Row of the table that holds the pack's resistance."""


class Batteries:
    """Parameters of n vehicles: `cars` are the kinds, `kind` [n] says which each vehicle is.

    State of charge is the caller's. `aux_w` replaces what the ambient temperature asks for.
    """

    def __init__(
        self,
        cars: Sequence[VehiclePreset],
        kind: IntArray,
        ambient_c: float = MILD_C,
        *,
        aux_w: float | None = None,
    ) -> None:
        self._cars, self._kind, self._aux_w = tuple(cars), kind, aux_w
        self.set_ambient(ambient_c)
        self._ocv: FloatArray = np.array([ocv_table_v(c.chemistry, c.cells) for c in cars])
        self._max_v: FloatArray = np.array([CELL_MAX_V[c.chemistry] * c.cells for c in cars])
        self._ac_w: FloatArray = np.array([car.ac_kw * 1e3 * CHARGER_ETA for car in cars])
        self.usable_j: FloatArray = np.array([car.usable_kwh * 3.6e6 for car in cars])[kind]
        """[n] between 0 and 1 of `soc`."""

    def set_ambient(self, ambient_c: float) -> None:
        """The weather from now on: density of the air, heating and cooling, the packs' resistance.

        `ValueError` outside -60..60 °C.
        """
        cars, aux_w = self._cars, self._aux_w
        loads = RoadLoads.of([car.load for car in cars])
        ratio = self.resistance_ratio = float(resistance_ratio(ambient_c))
        heat = [aux_w if aux_w is not None else auxiliary_w(c.heating, ambient_c) for c in cars]
        # One row a parameter and one column a kind: a tick gathers all of them at once.
        self._table: FloatArray = np.array(
            [
                loads.a_n,
                loads.b_ns_m,
                loads.c_ns2_m2 * air_density_ratio(ambient_c),
                loads.mass_kg,
                loads.gear,
                [car.motor_kw * 1e3 for car in cars],
                [car.regen_kw * 1e3 for car in cars],
                [car.motor_peak for car in cars],
                np.array(heat, dtype=np.float64),
                [car.resistance_ohm * ratio for car in cars],
            ]
        )

    def terminal_w(
        self,
        idx: IntArray,
        v0_mps: FloatArray,
        v1_mps: FloatArray,
        ds_m: FloatArray,
        dt_s: float,
        climb_m: FloatArray | None = None,
    ) -> FloatArray:
        """Mean power out of the terminals of vehicles `idx` [k] over a step, W."""
        return self._terminal_w(
            self._table.take(self._kind[idx], axis=1), v0_mps, v1_mps, ds_m, dt_s, climb_m
        )

    def drive_j(
        self,
        idx: IntArray,
        soc: FloatArray,
        v0_mps: FloatArray,
        v1_mps: FloatArray,
        ds_m: FloatArray,
        dt_s: float,
        climb_m: FloatArray | None = None,
    ) -> FloatArray:
        """Energy out of the stores of vehicles `idx` [k] over a step from `v0` to `v1`, J.

        Below 0 when they regenerate more than they use.
        """
        kind = self._kind[idx]
        table = self._table.take(kind, axis=1)
        power = self._terminal_w(table, v0_mps, v1_mps, ds_m, dt_s, climb_m)
        stored = stored_power_w(power, table_ocv_v(self._ocv, kind, soc), table[_R_OHM])
        return np.asarray(stored * dt_s)

    def _terminal_w(
        self,
        table: FloatArray,
        v0_mps: FloatArray,
        v1_mps: FloatArray,
        ds_m: FloatArray,
        dt_s: float,
        climb_m: FloatArray | None,
    ) -> FloatArray:
        a, b, c, mass, gear, motor_w, regen_w, peak, aux, _ = table
        work = wheel_work_j(RoadLoads(a, b, c, mass, gear), v0_mps, v1_mps, ds_m, dt_s, climb_m)
        power = terminal_power_w(work / dt_s, ds_m / dt_s, motor_w, regen_w, peak, gear)
        return np.asarray(power + aux)

    def voltage_v(self, idx: IntArray, soc: FloatArray, power_w: FloatArray) -> FloatArray:
        """Terminal voltage of vehicles `idx` [k] while `power_w` flows out of them, V."""
        kind = self._kind[idx]
        ocv, r_ohm = table_ocv_v(self._ocv, kind, soc), self._table[_R_OHM, kind]
        return np.asarray(ocv - current_a(power_w, ocv, r_ohm) * r_ohm)

    def charge_w(
        self, idx: IntArray, soc: FloatArray, dc_station_w: FloatArray | float | None = None
    ) -> FloatArray:
        """Power into the terminals of vehicles `idx` [k], W.

        On a DC station that gives `dc_station_w`, or, without, on AC: the on-board charger limits.
        """
        kind = self._kind[idx]
        curve = np.empty(idx.size)
        for k, car in enumerate(self._cars):
            mine = kind == k
            curve[mine] = car.dc_curve.power_w(soc[mine])
        station = self._ac_w[kind] if dc_station_w is None else dc_station_w
        ocv = table_ocv_v(self._ocv, kind, soc)
        return charge_power_w(station, curve, ocv, self._table[_R_OHM, kind], self._max_v[kind])

    def charge_j(
        self,
        idx: IntArray,
        soc: FloatArray,
        dt_s: float,
        dc_station_w: FloatArray | float | None = None,
    ) -> FloatArray:
        """Energy into the stores of vehicles `idx` [k] over `dt_s`, J: what `charge_w` gives,
        less the heat in the pack."""
        kind = self._kind[idx]
        power = self.charge_w(idx, soc, dc_station_w)
        ocv = table_ocv_v(self._ocv, kind, soc)
        return np.asarray(-stored_power_w(-power, ocv, self._table[_R_OHM, kind]) * dt_s)


def cycle_wh_per_mi(
    car: VehiclePreset,
    time_s: FloatArray,
    speed_mps: FloatArray,
    ambient_c: float = MILD_C,
    *,
    aux_w: float | None = None,
) -> float:
    """Consumption at the terminals over a speed trace [m], linear between its samples, Wh/mi."""
    v0, v1, dt = speed_mps[:-1], speed_mps[1:], np.diff(time_s)
    ds = (v0 + v1) / 2 * dt
    one = Batteries([car], np.zeros(1, dtype=np.int64), ambient_c, aux_w=aux_w)
    energy = 0.0
    for step in np.unique(dt):
        m = dt == step
        idx = np.zeros(int(m.sum()), dtype=np.int64)
        energy += float(one.terminal_w(idx, v0[m], v1[m], ds[m], float(step)).sum()) * float(step)
    return energy / 3600.0 / (float(ds.sum()) / MILE_M)


def constant_speed_wh_per_mi(
    car: VehiclePreset, speed_mps: float, ambient_c: float = MILD_C, *, aux_w: float | None = None
) -> float:
    """Consumption at the terminals at a steady speed, Wh/mi."""
    speed = np.full(2, speed_mps)
    return cycle_wh_per_mi(car, np.array([0.0, 1.0]), speed, ambient_c, aux_w=aux_w)
