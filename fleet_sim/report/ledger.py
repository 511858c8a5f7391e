"""`ledger.parquet`, read by row groups: ten million rows need no more memory than one group."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fleet_sim.measure import grid
from fleet_sim.measure.grid import Grid

MOST_SLOTS = 720
BATCH_ROWS = 250_000

STAGE_COLUMNS = {
    "sent": "sent_ns",
    "acknowledged": "acked_ns",
    "stream": "stream_ns",
    "processed": "processed_ns",
    "stored": "stored_ns",
    "visible": "visible_ns",
}
"""Stage by the column that has its time; all are measured from `intended_ns`."""

SERVICE = "acknowledged, from the send"

DELIVERED = (
    "applied",
    "acknowledged",
    "applied_not_archived",
    "duplicated",
    "reordered",
    "unacknowledged_archived",
)
"""Fates of messages that arrived, as far as the target lets one know."""


class LedgerGrids(NamedTuple):
    """What a whole ledger comes to. A slot is by the time at which messages were due."""

    rows: int
    t0_ns: int
    slot_s: float
    stages: dict[str, Grid]
    """By stage, and `SERVICE`; stages that no message reached are left out."""
    due: NDArray[np.int64]
    """`[slots]`"""
    sent: NDArray[np.int64]
    """`[slots]`: of those due, the ones that were sent."""
    fates: dict[str, NDArray[np.int64]]
    """`[slots]` by fate; empty when the run was not audited."""

    @property
    def slots(self) -> int:
        return len(self.due)


def read_grids(path: Path, slot_s: float | None = None) -> LedgerGrids:
    """Read `ledger.parquet` once for its extent and once for its rows.

    `slot_s`: how long a slot is; default 1 s, or as much more as keeps slots to `MOST_SLOTS`.
    `ValueError` when the file is not such a ledger.
    """
    try:
        with pq.ParquetFile(path) as file:
            return _read(file, slot_s)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"{path.name} could not be read: {error}") from None


def _read(file: pq.ParquetFile, slot_s: float | None) -> LedgerGrids:
    rows = file.metadata.num_rows
    if not rows:
        raise ValueError("ledger.parquet has no row")
    names = file.schema_arrow.names
    first, last = _extent(file)
    t0_ns = int((file.schema_arrow.metadata or {}).get(b"t0_ns", first)) or first
    t0_ns = min(t0_ns, first)
    if slot_s is None:
        # The first and the last moment have a slot each: slots are longer than their even share.
        slot_s = float(max(1, (last - t0_ns) // (MOST_SLOTS * 10**9) + 1))
    slot_ns = round(slot_s * 1e9)
    slots = (last - t0_ns) // slot_ns + 1
    columns = {stage: name for stage, name in STAGE_COLUMNS.items() if name in names}
    grids = {stage: grid.empty(slots) for stage in (*columns, SERVICE)}
    due, sent = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
    fates: dict[str, NDArray[np.int64]] = {}
    wanted = ["intended_ns", *columns.values(), *(["fate"] if "fate" in names else [])]
    for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
        intended = batch["intended_ns"].to_numpy()
        slot = (intended - t0_ns) // slot_ns
        due += np.bincount(slot, minlength=slots)
        at = {stage: batch[name].to_numpy() for stage, name in columns.items()}
        sent += np.bincount(slot[at["sent"] != 0], minlength=slots)
        answered = at["acknowledged"] != 0
        if "fate" in names:
            code, words = _fates(batch["fate"])
            for i, word in enumerate(words):
                counted = np.bincount(slot[code == i], minlength=slots)
                fates[word] = fates.get(word, 0) + counted
            # A broker's refusal is an answer, and acknowledges nothing.
            if "dropped" in words:
                answered &= code != words.index("dropped")
        at["acknowledged"] = np.where(answered, at["acknowledged"], 0)
        for stage, reached in at.items():
            known = reached != 0
            grid.add(grids[stage], slot[known], reached[known] - intended[known])
        known = answered & (at["sent"] != 0)
        grid.add(grids[SERVICE], slot[known], (at["acknowledged"] - at["sent"])[known])
    reached_any = {name: g for name, g in grids.items() if g.counts.any() or g.left_out.any()}
    present = {name: counts for name, counts in fates.items() if counts.any()}
    return LedgerGrids(rows, t0_ns, slot_s, reached_any, due, sent, present)


def _extent(file: pq.ParquetFile) -> tuple[int, int]:
    """First and last intended time: from the file's statistics, or from the column."""
    column = file.schema_arrow.get_field_index("intended_ns")
    if column < 0:
        raise ValueError("ledger.parquet has no column intended_ns")
    low, high = [], []
    for k in range(file.metadata.num_row_groups):
        found = file.metadata.row_group(k).column(column).statistics
        if found is None or not found.has_min_max:
            values = pc.min_max(file.read_row_group(k, columns=["intended_ns"])["intended_ns"])
            low.append(values["min"].as_py())
            high.append(values["max"].as_py())
        else:
            low.append(found.min)
            high.append(found.max)
    return min(low), max(high)


def _fates(column: pa.Array) -> tuple[NDArray[np.int64], list[str]]:
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist()
