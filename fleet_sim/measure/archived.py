"""The archive's records as arrays, in stream order, each stream record once."""

from array import array
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

SEQUENCE_BYTES = 24
"""Kinesis sequence numbers have 56 decimal digits: 187 bits, three words."""

SEQ_BITS = 32

_T = TypeVar("_T", bound=np.generic)


class Archived(NamedTuple):
    """Distinct stream records, sorted by shard and sequence number, each array `[records]`."""

    key: NDArray[np.uint64]
    """`vehicle << 32 | seq`: which message."""
    arrival_ns: NDArray[np.int64]
    processed_ns: NDArray[np.int64]
    rearchived: int
    """Lines that repeat another line's (shard, sequence): a retry wrote them again."""


ArchiveRow = tuple[str, int, str, int, float, float]
"""`(vin, seq, shard, sequence, arrival_ms, processed_ms)`; times in ms since the epoch."""


class VehicleIndex:
    """Vins to indices. Vins that the run does not know get indices from `known` on."""

    def __init__(self, vins: list[str]) -> None:
        self.index = {vin: i for i, vin in enumerate(vins)}
        if len(self.index) != len(vins):
            raise ValueError("audit: vins has the same vehicle twice")
        self.known = len(vins)
        self.vins = list(vins)

    def of(self, vin: str) -> int:
        found = self.index.get(vin)
        if found is None:
            found = self.index[vin] = len(self.vins)
            self.vins.append(vin)
        return found


def load_archive(rows: Iterable[ArchiveRow], vehicles: VehicleIndex) -> Archived:
    """Read all rows once. `ValueError` names a record whose numbers are out of range."""
    index, learn = vehicles.index, vehicles.of
    vehicle_of, seq_of, shard_of = array("I"), array("I"), array("I")
    arrival_ms, processed_ms = array("d"), array("d")
    sequences = bytearray()
    shards: dict[str, int] = {}
    for vin, seq, shard, sequence, arrival, processed in rows:
        try:
            seq_of.append(seq)
            sequences += sequence.to_bytes(SEQUENCE_BYTES, "big")
        except OverflowError:
            raise ValueError(
                f"archive: vehicle {vin}, seq {seq}, {shard}/{sequence}: out of range"
                f" (allowed: seq 0..2^32-1, sequence number 0..2^{8 * SEQUENCE_BYTES}-1)"
            ) from None
        vehicle = index.get(vin)
        vehicle_of.append(learn(vin) if vehicle is None else vehicle)
        shard_of.append(shards.setdefault(shard, len(shards)))
        arrival_ms.append(arrival)
        processed_ms.append(processed)
    key = _array(vehicle_of, np.uint32).astype(np.uint64) << np.uint64(SEQ_BITS)
    key |= _array(seq_of, np.uint32)
    # Shards are numbered by name: a child of a split or a merge has a higher id than its parents.
    rank = {name: i for i, name in enumerate(sorted(shards))}
    renumber = np.array([rank[name] for name in shards], np.uint32)
    shard_rank = renumber[_array(shard_of, np.uint32)] if shards else _array(shard_of, np.uint32)
    words = np.frombuffer(sequences, ">u8").reshape(-1, 3).astype(np.uint64)
    columns = (key, words[:, 2], words[:, 1], words[:, 0], shard_rank)
    order = np.lexsort(columns)
    fresh = np.ones(len(order), np.bool_)
    if len(order) > 1:
        repeats = [column[order][1:] == column[order][:-1] for column in columns]
        fresh[1:] = ~np.logical_and.reduce(repeats)
    kept = order[fresh]
    return Archived(
        key[kept],
        _ns(_array(arrival_ms, np.float64)[kept]),
        _ns(_array(processed_ms, np.float64)[kept]),
        len(order) - len(kept),
    )


def _array(values: "array[int] | array[float]", dtype: type[_T]) -> NDArray[_T]:
    return np.frombuffer(values, dtype) if len(values) else np.zeros(0, dtype)


def _ns(ms: NDArray[np.float64]) -> NDArray[np.int64]:
    # Through whole µs: a float64 of ms since the epoch holds no more (its step is 0.24 µs).
    return np.rint(ms * 1000).astype(np.int64) * 1000
