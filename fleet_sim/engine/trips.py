"""The drives of a dataset: from when a vehicle pulls out until it stands again."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fleet_sim.scenario import Scenario
from fleet_sim.world import World
from fleet_sim.world.fleet import PARKED

ROWS_A_GROUP = 100_000
_COLUMNS = 10


class Trips:
    """Drives, found by looking after each step at who stands.

    A vehicle that drives when the dataset begins has a trip with `began_before`: its departure,
    place and distance count from the beginning. Trips that have not ended are left out.
    """

    def __init__(self, scenario: Scenario, world: World, path: Path) -> None:
        self.rows = 0
        self._scenario, self._world, self._path = scenario, world, path
        self._standing = self._stands()
        self._before: NDArray[np.bool_] = ~self._standing
        self._left_s: NDArray[np.float64] = np.zeros(world.n)
        self._odo_km, self._soc, self._x, self._y = self._now(np.arange(world.n))
        self._done: list[tuple[NDArray[Any], ...]] = []
        self._held = 0
        self._writer: pq.ParquetWriter | None = None

    def _stands(self) -> NDArray[np.bool_]:
        return np.asarray(self._world.fleet.mode[: self._world.n] >= PARKED)

    def _now(self, idx: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
        fleet = self._world.fleet
        x, y = fleet.position(idx)
        return fleet.odo[idx] / 1000.0, fleet.soc[idx].copy(), x, y

    def look(self) -> None:
        """Who left and who arrived since the last look."""
        standing = self._stands()
        moved = np.flatnonzero(standing != self._standing)
        self._standing = standing
        if not moved.size:
            return
        now_s = self._world.now_s
        arrived = moved[standing[moved]]
        if arrived.size:
            odo, soc, x, y = self._now(arrived)
            self._done.append(
                (
                    arrived,
                    self._left_s[arrived],
                    np.full(arrived.size, now_s),
                    self._x[arrived],
                    self._y[arrived],
                    x,
                    y,
                    odo - self._odo_km[arrived],
                    self._soc[arrived] - soc,
                    self._before[arrived],
                )
            )
            self._before[arrived] = False
            self._held += arrived.size
            if self._held >= ROWS_A_GROUP:
                self._flush()
        left = moved[~standing[moved]]
        if left.size:
            self._left_s[left] = now_s
            self._odo_km[left], self._soc[left], self._x[left], self._y[left] = self._now(left)

    def close(self) -> None:
        """Write the rest. The file is there also when nobody arrived anywhere."""
        if self._done or self._writer is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        empty = tuple(np.zeros(0) for _ in range(_COLUMNS))
        parts = [np.concatenate(c) for c in zip(*(self._done or [empty]), strict=True)]
        vehicle, left_s, arrived_s, x0, y0, x1, y1, km, soc_used, before = parts
        to_degrees = self._world.city.projection.to_degrees
        lat0, lon0 = to_degrees(x0, y0)
        lat1, lon1 = to_degrees(x1, y1)
        index = pa.array(vehicle.astype(np.int32))
        table = pa.table(
            {
                "vin": pa.DictionaryArray.from_arrays(index, pa.array(self._world.vins)),
                "departed": stamps(self._scenario, left_s),
                "arrived": stamps(self._scenario, arrived_s),
                "from_lat": lat0.round(7),
                "from_lon": lon0.round(7),
                "to_lat": lat1.round(7),
                "to_lon": lon1.round(7),
                "distance_km": km.round(3),
                "soc_used": soc_used.round(5),
                "began_before": before.astype(np.bool_),
            }
        )
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)
        self.rows += table.num_rows
        self._done, self._held = [], 0


def stamps(scenario: Scenario, t_s: NDArray[np.float64]) -> pa.Array:
    """Simulated times as timestamps."""
    start_ms = scenario.clock.start.timestamp() * 1000
    return pa.array(np.rint(start_ms + t_s * 1000).astype(np.int64), pa.timestamp("ms", "UTC"))
