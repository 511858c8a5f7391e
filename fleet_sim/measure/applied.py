"""What the cloud says it applied, as arrays that millions of messages are looked up in."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.archived import SEQ_BITS, VehicleIndex
from fleet_sim.measure.intervals import parse_intervals


class Mismatch(NamedTuple):
    """A vehicle whose stored newest number is not the highest it lists as applied."""

    vehicle: int
    newest: int
    """As stored; 0 is nothing."""
    highest: int
    """Of the intervals; 0 is none."""


class Applied(NamedTuple):
    """All vehicles' intervals as keys `vehicle << 32 | seq`, ascending and disjoint, `[k]`."""

    first: NDArray[np.uint64]
    last: NDArray[np.uint64]
    mismatches: list[Mismatch]

    def of(self, begin: int, end: int) -> "Applied":
        """Those of vehicles `begin` to `end - 1`, without the mismatches."""
        bounds = np.array([begin << SEQ_BITS, end << SEQ_BITS], np.uint64)
        low, high = np.searchsorted(self.first, bounds).tolist()
        return Applied(self.first[low:high], self.last[low:high], [])

    def contains(self, key: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the messages are applied, `[len(key)]`."""
        if not len(self.first):
            return np.zeros(len(key), np.bool_)
        at = np.searchsorted(self.first, key, side="right")
        inside: NDArray[np.bool_] = (at > 0) & (key <= self.last[np.maximum(at, 1) - 1])
        return inside

    def strangers(self, known: NDArray[np.uint64], limit: int) -> tuple[int, list[tuple[int, int]]]:
        """Applied messages that are not among the `known` (sorted) keys: how many, and at most
        `limit` of them as (vehicle, seq).
        """
        start = np.searchsorted(known, self.first, side="left")
        end = np.searchsorted(known, self.last, side="right")
        missing = (self.last - self.first + np.uint64(1)).astype(np.int64) - (end - start)
        total = int(missing.sum())
        named: list[tuple[int, int]] = []
        for i in np.flatnonzero(missing):
            if len(named) >= limit:
                break
            # Only as many numbers are tried as can be named: the range may be absurdly long.
            have = set(known[start[i] : end[i]].tolist())
            for key in range(int(self.first[i]), int(self.last[i]) + 1):
                if len(named) >= limit:
                    break
                if key not in have:
                    named.append((key >> SEQ_BITS, key & 0xFFFFFFFF))
        return total, named


def load_applied(
    applied: Mapping[str, str], newest: Mapping[str, int], vehicles: VehicleIndex
) -> Applied:
    """Parse and sort all intervals; `ValueError` names the vehicle and the text if malformed."""
    first: list[int] = []
    last: list[int] = []
    mismatches: list[Mismatch] = []
    parsed = sorted((vehicles.of(vin), vin, text) for vin, text in applied.items())
    for vehicle, vin, text in parsed:
        intervals = parse_intervals(vin, text)
        base = vehicle << SEQ_BITS
        first += [base | a for a, _ in intervals]
        last += [base | b for _, b in intervals]
        highest = intervals[-1][1] if intervals else 0
        if newest.get(vin, 0) != highest:
            mismatches.append(Mismatch(vehicle, newest.get(vin, 0), highest))
    for vin in sorted(newest.keys() - applied.keys()):
        mismatches.append(Mismatch(vehicles.of(vin), newest[vin], 0))
    return Applied(np.array(first, np.uint64), np.array(last, np.uint64), mismatches)
