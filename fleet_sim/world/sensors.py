"""The fleet's side-looking sensors: each group has one of its own, or none."""

from collections.abc import Sequence

import numpy as np

from fleet_sim.models.arrays import BoolArray, Int16Array, IntArray
from fleet_sim.models.noise import Draws
from fleet_sim.models.ultrasonic import NO_ECHO_CM, UltrasonicPreset
from fleet_sim.models.ultrasonic_air import Air
from fleet_sim.world import sonar
from fleet_sim.world.fleet import Fleet
from fleet_sim.world.kerb import Kerb


class Sensors:
    """Of n vehicles. `which` [n] indexes `presets`; None is no sensor."""

    def __init__(self, presets: Sequence[UltrasonicPreset | None], which: IntArray) -> None:
        # Groups with one and the same sensor are asked together.
        self._presets = list(dict.fromkeys(presets))
        self._kind: IntArray = np.array([self._presets.index(p) for p in presets])[which]

    def sense(
        self,
        fleet: Fleet,
        kerb: Kerb,
        path: sonar.Path,
        idx: IntArray,
        now_s: float,
        draws: Draws,
        air: Air,
    ) -> tuple[Int16Array, BoolArray]:
        """As `sonar.sense`, each vehicle by its own sensor; without one it is never on."""
        if len(self._presets) == 1 and self._presets[0] is not None:
            return sonar.sense(fleet, kerb, path, idx, now_s, draws, air, self._presets[0])
        readings = np.full((idx.size, sonar.SAMPLES), NO_ECHO_CM, dtype=np.int16)
        on = np.zeros(idx.size, dtype=np.bool_)
        kinds = self._kind[idx]
        for kind, preset in enumerate(self._presets):
            rows = np.flatnonzero(kinds == kind)
            if preset is not None and rows.size:
                readings[rows], on[rows] = sonar.sense(
                    fleet, kerb, path, idx[rows], now_s, draws.take(rows), air, preset
                )
        return readings, on
