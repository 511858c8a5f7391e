"""The archive's records as arrays, in stream order, each stream record once."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

SEQUENCE_BYTES = 24
"""Kinesis sequence numbers have 56 decimal digits: 187 bits, three words."""

SEQ_BITS = 32

_WORD = 8

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
    """Rows as they come, in 44 bytes each: ten million of them as tuples would be 3 GB.

    `ValueError` names a record whose numbers are out of range.
    """

    def __init__(self, rows: Iterable[ArchiveRow]) -> None:
        self.vins: dict[str, int] = {}
        """Vin to its number, in the order in which they came."""
        self.places: dict[tuple[str, bytes], int] = {}
        """Shard and the first word of the sequence number, to their number: a run has few."""
        self.vin_of, self.seq, self.place_of = array("I"), array("I"), array("I")
        self.arrival_ms, self.processed_ms = array("d"), array("d")
        self.words = bytearray()
        """The other two words of the sequence number, the higher first."""
        vins, places, words = self.vins, self.places, self.words
        vin_of, seqs, place_of = self.vin_of.append, self.seq.append, self.place_of.append
        arrivals, taken_up = self.arrival_ms.append, self.processed_ms.append
        at_shard, at_head, place = "", b"", 0
        for vin, seq, shard, sequence, arrival, processed in rows:
            try:
                seqs(seq)
                number = sequence.to_bytes(SEQUENCE_BYTES, "big")
            except OverflowError:
                raise ValueError(
                    f"archive: vehicle {vin}, seq {seq}, {shard}/{sequence}: out of range"
                    f" (allowed: seq 0..2^32-1, sequence number 0..2^{8 * SEQUENCE_BYTES}-1)"
                ) from None
            words += number[_WORD:]
            head = number[:_WORD]
            if head != at_head or shard != at_shard:  # seldom: an object's are of one shard
                at_shard, at_head = shard, head
                place = places.setdefault((shard, head), len(places))
            place_of(place)
            vin_of(vins.setdefault(vin, len(vins)))
            arrivals(arrival)
            taken_up(processed)

    def __len__(self) -> int:
        return len(self.seq)


class Archive:
    """The rows of an archive, to be read in parts."""

    def __init__(self, rows: Iterable[ArchiveRow] | ArchiveRows, vehicles: VehicleIndex) -> None:
        """Reads all rows once. `ValueError` names a record whose numbers are out of range."""
        packed = rows if isinstance(rows, ArchiveRows) else ArchiveRows(rows)
        self._vehicle_of = np.array([vehicles.of(vin) for vin in packed.vins], np.uint64)
        # Shards are numbered by name: a child of a split or a merge has a higher id than its
        # parents.
        ordered = {place: i for i, place in enumerate(sorted(packed.places))}
        self._rank_of = np.array([ordered[place] for place in packed.places], np.uint32)
        self._vin_of, self._place_of = (
            _array(packed.vin_of, np.uint32),
            _array(packed.place_of, np.uint32),
        )
        self._seq = _array(packed.seq, np.uint32)
        words = np.frombuffer(packed.words, ">u8").reshape(-1, 2)
        self._middle, self._last = words.T
        self._arrival_ms = _array(packed.arrival_ms, np.float64)
        self._processed_ms = _array(packed.processed_ms, np.float64)

    def __len__(self) -> int:
        return len(self._seq)

    def vehicle(self, rows: slice) -> NDArray[np.uint64]:
        """The vehicles of some rows."""
        return self._vehicle_of[self._vin_of[rows]]

    def part(self, rows: NDArray[np.intp] | slice) -> Archived:
        """These rows, which have to be all of their vehicles'."""
        key = self._vehicle_of[self._vin_of[rows]] << np.uint64(SEQ_BITS)
        key |= self._seq[rows]
        place = self._rank_of[self._place_of[rows]]
        last, middle = (words[rows].astype(np.uint64) for words in (self._last, self._middle))
        record = (last, middle, place)
        # They come nearly in this order, which a stable sort makes use of.
        order = np.lexsort(record)
        same = _repeats(record, order)
        if not _repeats((key,), order)[same].all():  # one number for two messages
            order = np.lexsort((key, *record))
            same = _repeats((key, *record), order)
        kept = order[np.concatenate([np.ones(min(len(order), 1), np.bool_), ~same])]
        return Archived(
            key[kept],
            _ns(self._arrival_ms[rows][kept]),
            _ns(self._processed_ms[rows][kept]),
            len(order) - len(kept),
        )


def load_archive(rows: Iterable[ArchiveRow] | ArchiveRows, vehicles: VehicleIndex) -> Archived:
    """Read all rows once. `ValueError` names a record whose numbers are out of range."""
    return Archive(rows, vehicles).part(slice(None))


def _repeats(columns: Sequence[NDArray[Any]], order: NDArray[np.intp]) -> NDArray[np.bool_]:
    """`[rows - 1]`: whether a row, in this order, is as the one before it."""
    same = np.ones(max(len(order) - 1, 0), np.bool_)
    for column in columns:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    return same


def _array(values: "array[int] | array[float]", dtype: type[_T]) -> NDArray[_T]:
    return np.frombuffer(values, dtype) if len(values) else np.zeros(0, dtype)


def _ns(ms: NDArray[np.float64]) -> NDArray[np.int64]:
    # Through whole µs: a float64 of ms since the epoch holds no more (its step is 0.24 µs).
    return np.rint(ms * 1000).astype(np.int64) * 1000
