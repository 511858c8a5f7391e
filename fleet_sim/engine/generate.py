"""A dataset without a network: what vehicles would have published, and what was true meanwhile.

The world runs as fast as it can. Three Parquet files: `telemetry` (a row a message), `truth` (a row
a change of a stall) and `trips` (a row a drive from one stand to the next). Rows leave memory in
groups, but for the truth, which the world keeps: 16 bytes a change.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fleet_sim.engine.folder import prepare_folder
from fleet_sim.engine.pacing import Schedule, pace
from fleet_sim.engine.preflight import build_world
from fleet_sim.engine.trips import Trips, stamps
from fleet_sim.scenario import Scenario, dump
from fleet_sim.world import MODES, World
from fleet_sim.world.truth import BACKGROUND, EVENT

STEP_S = 0.5
"""The world's longest step: beyond it, following the car ahead loses accuracy."""
ROWS_A_GROUP = 500_000

_NS = 1_000_000_000

OnProgress = Callable[[float, float], None]
"""`on_progress(simulated_s, total_s)`."""


class Dataset(NamedTuple):
    """What was written."""

    rows: dict[str, int]
    """By file, without `.parquet`."""
    simulated_s: float
    """Less than the scenario's phases last when it was interrupted."""


def generate(
    scenario: Scenario,
    out: Path,
    *,
    sonar: bool = False,
    on_progress: OnProgress = lambda *_: None,
) -> Dataset:
    """Run the scenario's phases and write the dataset into the new or empty folder `out`.

    `sonar` adds the 20 samples of each message: they are most of its size. Times are simulated.
    Ctrl-C ends it early: the files hold all until then. Raises `PreflightError` when the folder is
    in use or the fleet does not fit the city.
    """
    world = build_world(scenario, scenario.name)
    prepare_folder(out)
    (out / "scenario.yaml").write_text(dump(scenario))
    telemetry = _Telemetry(scenario, world, out / "telemetry.parquet", sonar)
    trips = Trips(scenario, world, out / "trips.parquet")
    total_s = scenario.duration_s
    try:
        with _interrupts() as asked:
            for k in range(round(np.ceil(total_s / STEP_S))):
                world.step(STEP_S)
                trips.look()
                telemetry.write_until(min(total_s, (k + 1) * STEP_S))
                on_progress(world.now_s, total_s)
                if asked:
                    break
    finally:
        telemetry.close()
        trips.close()
        truth = _write_truth(scenario, world, out / "truth.parquet")
    rows = {"telemetry": telemetry.rows, "truth": truth, "trips": trips.rows}
    return Dataset(rows, min(world.now_s, total_s))


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collects the first Ctrl-C, so that no step ends halfway; a second one is as ever."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals reach the main thread only
        return

    def ask(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


class _Telemetry:
    """Messages of all groups in the order of their times, each with the state of its step's end."""

    def __init__(self, scenario: Scenario, world: World, path: Path, sonar: bool) -> None:
        self.rows = 0
        self._world = world
        self._sonar = sonar
        self._start_ns = round(scenario.clock.start.timestamp() * _NS)
        self._vins = pa.array(world.vins)
        self._modes = pa.array(MODES)
        self._groups: list[tuple[int, Schedule]] = []
        self._opened: list[int] = []
        first = 0
        for group in scenario.fleet:
            period_ns = round(group.telemetry.period_s * _NS)
            schedule = Schedule(group.count, period_ns, round(scenario.duration_s * _NS))
            self._groups.append((first, schedule))
            self._opened.append(0)
            first += group.count
        self._held: list[pa.Table] = []
        self._held_rows = 0
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write_until(self, now_s: float) -> None:
        """Take the messages intended before `now_s` that are not taken yet."""
        for g, (first, schedule) in enumerate(self._groups):
            begin = self._opened[g]
            count = pace(round(now_s * _NS) - 1, begin, schedule).due
            if count:
                self._opened[g] += count
                number = np.arange(begin, begin + count)
                vehicles = first + number % schedule.vehicles
                intended_ns = number * schedule.period_ns // schedule.vehicles
                self._hold(self._table(vehicles, number // schedule.vehicles + 1, intended_ns))

    def _table(
        self, vehicles: NDArray[np.int64], seq: NDArray[np.int64], intended_ns: NDArray[np.int64]
    ) -> pa.Table:
        seen = self._world.observe(vehicles, side_sensor=self._sonar)
        at_ms = (self._start_ns + intended_ns) // 1_000_000
        columns: dict[str, Any] = {
            "ts": pa.array(at_ms, pa.timestamp("ms", "UTC")),
            "vin": pa.DictionaryArray.from_arrays(pa.array(vehicles, pa.int32()), self._vins),
            "seq": pa.array(seq, pa.uint32()),
            "lat": seen.lat.round(7),
            "lon": seen.lon.round(7),
            "speed_mps": seen.speed_mps.round(2).astype(np.float32),
            "heading_deg": seen.heading_deg.round(1).astype(np.float32),
            "soc": seen.soc.round(4).astype(np.float32),
            "mode": pa.DictionaryArray.from_arrays(pa.array(seen.mode, pa.int8()), self._modes),
            "fix": pa.array(seen.fix, pa.int8()),
            "acc_m": seen.acc_m.round(1).astype(np.float32),
            "odo_km": seen.odo_km.round(3),
        }
        if self._sonar:
            samples = pa.FixedSizeListArray.from_arrays(
                pa.array(seen.range_cm.ravel(), pa.int16()),
                seen.range_cm.shape[1],
                mask=pa.array(~seen.sonar_ok),
            )
            columns["range_cm"] = samples
        return pa.table(columns)

    def _hold(self, table: pa.Table) -> None:
        self._held.append(table)
        self._held_rows += table.num_rows
        if self._held_rows >= ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held).sort_by("ts")
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)
        self.rows += table.num_rows
        self._held, self._held_rows = [], 0

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()


def _write_truth(scenario: Scenario, world: World, path: Path) -> int:
    """Each stall's state at the beginning, then every change, in the order of time. `by` is a vin,
    `background` or `event`: whose car it is that came; null for one that left or was there."""
    truth = world.truth
    n = world.city.stalls.n
    stall = np.concatenate([np.arange(n), truth.stall])
    taken = np.concatenate([truth.initial, truth.now_occupied])
    t_s = np.concatenate([np.zeros(n), truth.t_s])
    names = [*world.vins, "background", "event"]
    by = np.concatenate([np.full(n, -1), truth.by])
    came = np.select([by == BACKGROUND, by == EVENT], [world.n, world.n + 1], by)
    table = pa.table(
        {
            "ts": stamps(scenario, t_s),
            "by": pa.DictionaryArray.from_arrays(
                pa.array(came.astype(np.int32), mask=came < 0), pa.array(names)
            ),
            "stall": pa.DictionaryArray.from_arrays(
                pa.array(stall.astype(np.int32)), pa.array(list(world.city.stalls.id))
            ),
            "occupied": taken,
        }
    )
    pq.write_table(table, path, compression="zstd")
    return int(table.num_rows)
