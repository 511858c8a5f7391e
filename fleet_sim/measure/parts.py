"""The fleet in parts of some vehicles each: what is asked of messages is asked within a vehicle."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.archived import Archive
from fleet_sim.measure.blocks import blocks

PART_ROWS = 1 << 19
"""Of ledger and archive together; a part has more when there would be more than `MOST` parts."""
MOST = 64

Rows = NDArray[np.intp] | slice


class Part(NamedTuple):
    """Vehicles `begin` to `end - 1`."""

    begin: int
    end: int
    rows: Rows
    """Of the ledger."""
    archived: Rows
    """Of the archive."""


def parts_of(
    vehicle: NDArray[np.uint32], archive: Archive | None, vehicles: int, part_rows: int = PART_ROWS
) -> Iterator[Part]:
    """All `vehicles`, in order; at least one part. `vehicle`: of each row of the ledger."""
    archived = 0 if archive is None else len(archive)
    total = len(vehicle) + archived
    if total <= part_rows:
        yield Part(0, vehicles, slice(None), slice(None))
        return
    counts = np.zeros(vehicles, np.int64)
    for block in blocks(len(vehicle)):
        counts += np.bincount(vehicle[block], minlength=vehicles)
    if archive is not None:
        for block in blocks(archived):
            counts += np.bincount(archive.vehicle(block).astype(np.intp), minlength=vehicles)
    size = max(part_rows, -(-total // MOST))
    part = ((np.cumsum(counts) - counts) // size).astype(np.uint8)
    of_row, of_archived = np.empty(len(vehicle), np.uint8), np.empty(archived, np.uint8)
    for block in blocks(len(vehicle)):
        of_row[block] = part[vehicle[block]]
    if archive is not None:
        for block in blocks(archived):
            of_archived[block] = part[archive.vehicle(block)]
    for number in np.unique(part).tolist():
        begin, end = np.searchsorted(part, [number, number + 1]).tolist()
        yield Part(
            begin, end, np.flatnonzero(of_row == number), np.flatnonzero(of_archived == number)
        )
