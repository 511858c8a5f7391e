"""What surrounds each vehicle of a rehearsal: trips, charge, link and outages, by assumption."""

import math

import numpy as np
from numpy.typing import NDArray

from fleet_sim.engine.ota.link import Link
from fleet_sim.models import RadioPreset
from fleet_sim.scenario import Scenario
from fleet_sim.vehicle.ota_table import Conditions
from fleet_sim.world.equipment import Equipment

DRIVES_A_DAY, DRIVE_S = 2, 1_800.0
"""Assumption: a private car drives an hour a day, in two trips at times of its own."""
CHARGED_MINUTES, CHARGED_SOC = (1_320, 360), 0.8
"""Assumption: from 22:00 to 6:00 vehicles that are plugged in are charged to 80 % at least."""
PLUGGED, NIGHTS = 0.75, 8
"""Assumption: so many are, each night other ones."""
DROP_MEAN_S = 1_200.0
"""Assumption: downloads break every 20 minutes on average."""
BACK_S = 128.0
"""After an outage vehicles come back within this time, each at one of its own."""


class Surroundings:
    """Of all vehicles of a scenario's fleet; drawn from `rng`. Times: simulated s since the
    campaign began."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        start = scenario.clock.start
        self._minute = start.hour * 60 + start.minute + start.second / 60
        fleet = scenario.fleet
        groups = [g for g, group in enumerate(fleet) for _ in range(group.count)]
        n = len(groups)
        self._trips = np.sort(rng.uniform(0, 86_400, (n, DRIVES_A_DAY)), axis=1)
        low = np.array([fleet[g].soc[0] for g in groups])
        high = np.array([fleet[g].soc[1] for g in groups])
        self._soc = rng.uniform(low, high)
        self._plugged = rng.random((n, NIGHTS)) < PLUGGED
        self.outages: list[tuple[float, float, NDArray[np.bool_]]] = []
        """Begin and end, and which vehicles it strikes [vehicles]."""
        for fault in scenario.faults:
            if fault.radio is not None:
                # There is no map: half of the fleet is on each side of it.
                struck = rng.random(n) < (1.0 if fault.radio.district == "all" else 0.5)
                end_s = float(fault.at_s + fault.for_s)
                self.outages.append((float(fault.at_s), end_s, struck))
        self.late_s: list[float] = rng.uniform(0.0, BACK_S, n).tolist()
        """How long after an outage's end each comes back [vehicles]."""
        radios = Equipment.of(scenario).radios
        spread = rng.normal(size=n)
        self.links = [
            Link(
                _bytes_per_s(radios[g], float(spread[i])),
                DROP_MEAN_S,
                lambda now_s, i=i: self.back_s(i, now_s),  # type: ignore[misc]
            )
            for i, g in enumerate(groups)
        ]

    def conditions(self, i: int, now_s: float) -> Conditions:
        """What vehicle i knows about itself."""
        day_s = (self._minute * 60 + now_s) % 86_400
        minute = int(day_s // 60)
        driving = bool(((day_s - self._trips[i]) % 86_400 < DRIVE_S).any())
        soc = float(self._soc[i])
        begin, end = CHARGED_MINUTES
        night = int((self._minute * 60 + now_s - 43_200) // 86_400) % NIGHTS  # from noon to noon
        if not driving and self._plugged[i, night] and (minute >= begin or minute < end):
            soc = max(soc, CHARGED_SOC)
        return Conditions(not driving, soc, minute)

    def back_s(self, i: int, now_s: float) -> float:
        """When vehicle i is online, at or after this."""
        for begin_s, end_s, struck in self.outages:
            back_s = end_s + self.late_s[i]
            if struck[i] and begin_s <= now_s < back_s:
                return back_s
        return now_s

    def is_away(self, i: int, now_s: float) -> bool:
        return bool(self.outages) and self.back_s(i, now_s) > now_s


def _bytes_per_s(radio: RadioPreset, deviation: float) -> float:
    """Of one vehicle's downlink, `deviation` standard deviations from the median."""
    return radio.downlink_kbps * 125.0 * math.exp(radio.throughput_log_sigma * deviation)
