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


class ArchiveRows:
    """Rows as they come, in 52 bytes each: ten million of them as tuples would be 3 GB.

    `ValueError` names a record whose numbers are out of range.
    """

    def __init__(self, rows: Iterable[ArchiveRow]) -> None:
        self.vins: dict[str, int] = {}
        """Vin to its number, in the order in which they came."""
        self.shards: dict[str, int] = {}
        self.vin_of, self.seq, self.shard_of = array("I"), array("I"), array("I")
        self.arrival_ms, self.processed_ms = array("d"), array("d")
        self.sequences = bytearray()
        """`SEQUENCE_BYTES` a row, the highest first."""
        vins, shards = self.vins, self.shards
        for vin, seq, shard, sequence, arrival, processed in rows:
            try:
                self.seq.append(seq)
                self.sequences += sequence.to_bytes(SEQUENCE_BYTES, "big")
            except OverflowError:
                raise ValueError(
                    f"archive: vehicle {vin}, seq {seq}, {shard}/{sequence}: out of range"
                    f" (allowed: seq 0..2^32-1, sequence number 0..2^{8 * SEQUENCE_BYTES}-1)"
                ) from None
            self.vin_of.append(vins.setdefault(vin, len(vins)))
            self.shard_of.append(shards.setdefault(shard, len(shards)))
            self.arrival_ms.append(arrival)
            self.processed_ms.append(processed)

    def __len__(self) -> int:
        return len(self.seq)


def load_archive(rows: Iterable[ArchiveRow] | ArchiveRows, vehicles: VehicleIndex) -> Archived:
    """Read all rows once. `ValueError` names a record whose numbers are out of range."""
    packed = rows if isinstance(rows, ArchiveRows) else ArchiveRows(rows)
    shards = packed.shards
    index_of = np.array([vehicles.of(vin) for vin in packed.vins], np.uint64)
    key = index_of[_array(packed.vin_of, np.uint32)] << np.uint64(SEQ_BITS)
    key |= _array(packed.seq, np.uint32)
    # Shards are numbered by name: a child of a split or a merge has a higher id than its parents.
    rank = {name: i for i, name in enumerate(sorted(shards))}
    renumber = np.array([rank[name] for name in shards], np.uint32)
    shard_rank = (
        renumber[_array(packed.shard_of, np.uint32)]
        if shards
        else _array(packed.shard_of, np.uint32)
    )
    words = np.frombuffer(packed.sequences, ">u8").reshape(-1, 3)
    # A run's sequence numbers have their first word in common: what is constant orders nothing.
    varying = [w.astype(np.uint64) for w in words.T[::-1] if len(w) and (w != w[0]).any()]
    columns = (key, *varying, shard_rank)
    order = np.lexsort(columns)
    same = np.ones(max(len(order) - 1, 0), np.bool_)
    for column in columns:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    kept = order[np.concatenate([np.ones(min(len(order), 1), np.bool_), ~same])]
    return Archived(
        key[kept],
        _ns(_array(packed.arrival_ms, np.float64)[kept]),
        _ns(_array(packed.processed_ms, np.float64)[kept]),
        len(order) - len(kept),
    )


def _array(values: "array[int] | array[float]", dtype: type[_T]) -> NDArray[_T]:
    return np.frombuffer(values, dtype) if len(values) else np.zeros(0, dtype)


def _ns(ms: NDArray[np.float64]) -> NDArray[np.int64]:
    # Through whole µs: a float64 of ms since the epoch holds no more (its step is 0.24 µs).
    return np.rint(ms * 1000).astype(np.int64) * 1000
