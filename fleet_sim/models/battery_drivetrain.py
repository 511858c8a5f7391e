"""From the wheels to the pack's terminals: gear, motor and inverter, regeneration.

The efficiency of motor and inverter depends on load: the default map of NREL's FASTSim (Brooker
et al., SAE 2015-01-0973; `em.eff_interp_achieved` of its 2016 Leaf and 2022 Model 3), interpolated
where FASTSim takes the lower knot (so its motor loses a little more). The gear's share is part of
the road load. Regeneration has one efficiency: it fits EPA's city and highway figures, and
FASTSim 3 has one too (0.98 of the gear times the lowest of the map, 0.84).
"""

import numpy as np

from fleet_sim.models.arrays import FloatArray

MAP_PEAK = 0.95
"""Of the map below; a car with another peak has the map scaled, as FASTSim does."""
_LOAD = np.array([0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
_EFFICIENCY = np.array([0.84, 0.86, 0.88, 0.90, 0.91, 0.92, 0.94, 0.95, 0.95, 0.94, 0.93])
ETA_REGEN = 0.85
"""Wheels to terminals while braking."""
REGEN_FADE_MPS = 2.2
"""Below 5 mph friction brakes take over, linearly down to standstill (assumption)."""


def motor_efficiency(load: FloatArray, peak: FloatArray | float = MAP_PEAK) -> FloatArray:
    """Efficiency of motor and inverter at mechanical power over rated power.

    Beyond rated power the last value holds.
    """
    return np.asarray(np.interp(load, _LOAD, _EFFICIENCY) * (peak / MAP_PEAK))


def recovered_w(wheel_w: FloatArray, v_mps: FloatArray, regen_w: FloatArray | float) -> FloatArray:
    """Power that comes back to the terminals from a power at the wheels below 0, W, at most 0.

    What `regen_w` and the fade at low speed leave over goes into the friction brakes.
    """
    share = np.minimum(v_mps * (ETA_REGEN / REGEN_FADE_MPS), ETA_REGEN)
    return np.asarray(np.maximum(np.minimum(wheel_w, 0.0) * share, -regen_w))


def terminal_power_w(
    wheel_w: FloatArray,
    v_mps: FloatArray,
    motor_w: FloatArray | float,
    regen_w: FloatArray | float,
    peak: FloatArray | float,
    gear: FloatArray | float,
) -> FloatArray:
    """Power from the pack's terminals into the inverter, W, without auxiliaries; below 0 back."""
    shaft = np.maximum(wheel_w, 0.0) / gear
    driven = shaft / motor_efficiency(shaft / motor_w, peak)
    return np.asarray(driven + recovered_w(wheel_w, v_mps, regen_w))
