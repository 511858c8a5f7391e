"""The scenario's radio faults: whom they strike, and what they make of a link."""

import numpy as np

from fleet_sim.models.arrays import BoolArray, Int8Array
from fleet_sim.scenario.model import Fault
from fleet_sim.world.city import City
from fleet_sim.world.fleet import Fleet

RADIO_UP, RADIO_OUT, RADIO_STALLED, RADIO_DOWN = range(4)
"""State of a radio link: there; without signal, as the model has it; struck by a fault that stalls
it, or by one that takes it down. The worse of two counts."""

_EPS_S = 1e-6
_STATES = {"stalled": RADIO_STALLED, "down": RADIO_DOWN}


class RadioFaults:
    """Those of `faults` that are of the radio."""

    def __init__(self, faults: tuple[Fault, ...], city: City, fleet: Fleet) -> None:
        self._faults = [(fault, fault.radio) for fault in faults if fault.radio is not None]
        self._city = city
        self._fleet = fleet
        self._struck: dict[int, BoolArray] = {}

    def state(self, up: BoolArray, now_s: float) -> Int8Array:
        """[n] `RADIO_UP` and so on, at `now_s`, of links that the model says are `up` [n]."""
        state = np.where(up, RADIO_UP, RADIO_OUT).astype(np.int8)
        for k, (fault, radio) in enumerate(self._faults):
            if not fault.at_s <= now_s + _EPS_S < fault.at_s + fault.for_s:
                continue
            if k not in self._struck:
                x, y = self._fleet.position(np.arange(self._fleet.n))
                self._struck[k] = self._city.district(radio.district, x, y)
            worse = np.maximum(state, np.int8(_STATES[radio.state]))
            state = np.where(self._struck[k], worse, state)
        return state
