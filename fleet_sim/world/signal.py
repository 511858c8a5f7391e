"""The fleet's radio links in its city: coverage along every lane, looked up in a table."""

from zlib import crc32

import numpy as np

from fleet_sim.models.arrays import BoolArray, Int8Array
from fleet_sim.models.radio import RadioLinks
from fleet_sim.models.radio_coverage import Coverage
from fleet_sim.scenario.model import Scenario
from fleet_sim.world.equipment import Equipment
from fleet_sim.world.fleet import Fleet

BIN_M = 10.0
"""Length of lane that has one class of coverage: a fifth of the shortest correlation length."""


class Signal:
    """`links` of a fleet, and where they are bad.

    Vehicles with one preset have one network: they meet the same weak places and holes.
    """

    def __init__(self, scenario: Scenario, fleet: Fleet, rng: np.random.Generator) -> None:
        self._fleet = fleet
        chosen = [group.radio for group in scenario.fleet]
        names = sorted(set(chosen))
        by_name = dict(zip(chosen, Equipment.of(scenario).radios, strict=True))
        presets = [by_name[name] for name in names]
        field_rng, link_rng, sense_rng = rng.spawn(3)
        field_seed = int(field_rng.integers(2**32))
        roads = fleet.city.roads
        # One bin more than the length needs: a vehicle may stand at the very end.
        bins = (roads.length // BIN_M).astype(np.int64) + 2
        first = np.cumsum(bins) - bins
        edge = np.repeat(np.arange(roads.n_edges), bins)
        along = (np.arange(edge.size) - first[edge] + 0.5) * BIN_M
        x, y = roads.point(edge, np.minimum(along, roads.length[edge]))
        fields = (
            # By name, so that another group in the scenario does not move this network's holes.
            np.random.default_rng([field_seed, crc32(name.encode())])
            for name in names
        )
        self._table: Int8Array = np.concatenate(
            [
                Coverage([p.area_share for p in preset.places], preset.correlation_m, field).at(
                    x, y
                )
                for preset, field in zip(presets, fields, strict=True)
            ]
        )
        """[presets * bins] class of each bin of each lane."""
        kind = np.array([names.index(group.radio) for group in scenario.fleet])[fleet.groups]
        self._first = first
        self._offset = kind * edge.size
        self.links = RadioLinks(
            presets, kind, self.place(), fleet.odo[: fleet.n], link_rng, sense_rng
        )

    @property
    def up(self) -> BoolArray:
        """[n] which vehicles have a link."""
        return self.links.up

    def place(self) -> Int8Array:
        """[n] class of coverage where each vehicle is now."""
        fleet = self._fleet
        along = (fleet.x[: fleet.n] * (1.0 / BIN_M)).astype(np.int64)
        return np.asarray(self._table[self._offset + self._first[fleet.edge[: fleet.n]] + along])

    def step(self, dt_s: float) -> None:
        """Advance by `dt_s` to where the fleet is now."""
        self.links.step(dt_s, self.place(), self._fleet.odo[: self._fleet.n])
