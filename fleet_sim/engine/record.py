"""What a run recorded, as files of its folder: series, ledger, and the map against the truth."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fleet_sim.engine.backend import Collected
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.leavings import Driven
from fleet_sim.measure.accuracy import FREE, OCCUPIED, UNKNOWN, Accuracy, accuracy
from fleet_sim.measure.audit import AuditResult
from fleet_sim.measure.fates import Fate
from fleet_sim.measure.stages import series
from fleet_sim.scenario import Scenario
from fleet_sim.world import City
from fleet_sim.world.towns import registry

LEDGER_ROWS = 500_000
"""Of a row group of `ledger.parquet`: what a reader that streams holds at once."""

_STATES = {"free": FREE, "occupied": OCCUPIED, "unknown": UNKNOWN}


def write_series(
    driven: Driven,
    folder: RunFolder,
    times: dict[str, NDArray[np.int64]],
    more: dict[str, list[float]] | None = None,
    rows: Iterable[tuple[float, str, float]] = (),
) -> None:
    """`timeseries.parquet`: rates and latencies by second, and what was sampled meanwhile. `more`:
    further series, a value a sample; `rows`: `t_s`, name and value of others."""
    line = series(driven.columns.intended_ns, times, driven.t0_ns)
    t_s, name, value = line.t_s.tolist(), line.name.tolist(), line.value.tolist()
    for at, what, amount in rows:
        t_s.append(at)
        name.append(what)
        value.append(amount)
    asked = driven.probe.occupancy if driven.probe else []
    for k, sample in enumerate(driven.samples):
        for what, values in (more or {}).items():
            t_s.append(sample.t_s)
            name.append(what)
            value.append(values[k])
        # What the API said last; it is asked less often than the samples are taken.
        told = [share for at, share in asked if at <= driven.t0_ns + sample.t_s * 1e9]
        if told:
            t_s.append(sample.t_s)
            name.append("occupancy{kind:map}")
            value.append(told[-1])
        for what, amount in (
            ("connected", sample.connected),
            ("in_flight", sample.in_flight),
            ("stored", sample.stored),
            ("attempts", sample.attempts),
            ("occupancy{kind:truth}", sample.occupancy),
            ("event_loop_lag_ms", sample.loop_lag_ms),
        ):
            t_s.append(sample.t_s)
            name.append(what)
            value.append(float(amount))
    table = pa.table(
        {
            "t_s": pa.array(t_s, pa.float64()),
            "name": pa.array(name, pa.string()).dictionary_encode(),
            "value": pa.array(value, pa.float64()),
        }
    )
    pq.write_table(table, folder.path / "timeseries.parquet", compression="zstd")


def write_ledger(driven: Driven, audited: AuditResult | None, folder: RunFolder) -> None:
    """`ledger.parquet`: one row a message, with what the audit found out about it."""
    columns = driven.columns
    table: dict[str, Any] = {
        name: getattr(columns, name)
        for name in ("vehicle", "seq", "intended_ns", "sent_ns", "acked_ns", "resent")
    }
    if driven.probe is not None:
        table["stored_ns"], table["visible_ns"] = driven.stored_ns, driven.visible_ns
    if audited is not None:
        table["stream_ns"] = audited.stream_ns
        table["processed_ns"] = audited.processed_ns
        names = pa.array([fate.name.lower() for fate in Fate])
        table["fate"] = pa.DictionaryArray.from_arrays(pa.array(audited.fate), names)
    whole = pa.table(table).replace_schema_metadata({"t0_ns": str(driven.t0_ns)})
    path = folder.path / "ledger.parquet"
    pq.write_table(whole, path, compression="zstd", row_group_size=LEDGER_ROWS)


def parking_map(
    driven: Driven, cities: Sequence[City], collected: Collected | None, scenario: Scenario
) -> tuple[dict[str, Any] | None, Accuracy | None]:
    """`map.json` and how right the API's spots are against the truth at the end, where that is
    known."""
    if collected is None:
        return None, None
    stalls = registry(cities).spots
    truth, known = driven.occupied, driven.known
    now_ms = (scenario.clock.start.timestamp() + driven.now_s) * 1000
    served = {spot.id: spot for spot in collected.spots}
    state = np.full(len(stalls), UNKNOWN, np.int8)
    p_occupied = np.full(len(stalls), 0.5)
    age_s = np.full(len(stalls), np.nan)
    spots = []
    for k, stall in enumerate(stalls):
        spot = served.get(stall.id)
        if spot is not None:
            state[k] = _STATES[spot.state]
            p_occupied[k] = spot.p_occupied
            if spot.last_seen_ms is not None:
                age_s[k] = (now_ms - spot.last_seen_ms) / 1000
        spots.append(
            {
                "id": stall.id,
                "lat": stall.lat,
                "lon": stall.lon,
                "bearing_deg": stall.bearing_deg,
                "truth": ("occupied" if truth[k] else "free") if known[k] else "unknown",
                "api": spot.state if spot else "unknown",
                "p": round(float(p_occupied[k]), 3),
            }
        )
    streets = [line for city in cities for line in _streets(city)]
    map_ = {"streets": streets, "spots": spots, "attribution": cities[0].attribution}
    if not known.any():
        return map_, None
    return map_, accuracy(truth[known], state[known], p_occupied[known], age_s[known])


def _streets(city: City) -> list[list[float]]:
    """Each street between two crossings once, as `[lat, lon, lat, lon]`."""
    roads = city.roads
    lat, lon = city.projection.to_degrees(roads.node_x, roads.node_y)
    ends = np.unique(np.sort(np.stack([roads.tail, roads.head], axis=1), axis=1), axis=0)
    a, b = ends.T
    lines: list[list[float]] = np.stack([lat[a], lon[a], lat[b], lon[b]], axis=1).round(6).tolist()
    return lines
