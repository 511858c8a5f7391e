"""What a look at a stall is worth: the likelihood of a share of near samples, calibrated.

Half of the samples decides whether a stall looks taken; how many they are decides how much that is
worth. A lost echo is weak evidence against a car, as one patch of a car may answer nothing, and the
faster the vehicle, the more it loses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from fleet_sim.contract.tables import USUAL

GRADES = 5
"""A look's share of near samples is told in so many steps."""
FAST_MPS = 11.0
"""From here on a vehicle loses so many echoes that its looks have tables of their own."""
IF_TAKEN = ((0.01, 0.001, 0.006, 0.058, 0.34, 0.585), (0.03, 0.02, 0.05, 0.15, 0.5, 0.25))
IF_FREE = ((0.966, 0.002, 0.002, 0.003, 0.01, 0.017), (0.93, 0.02, 0.015, 0.01, 0.01, 0.015))
"""Share of looks of each grade at taken and at free stalls, where the shift is certain (weight
above 0.9): 40,000 looks in the generated city of `fleet-sim bench parking`, seeds 1 to 3."""
LOST = 0.01
"""Weight at least of all shifts that were not judged under: then the look was at something else."""


def grade(near: int, count: int) -> int:
    return round(near / count * GRADES)


def llr_of(shares: Iterable[tuple[int, int, float]], speed_mps: float) -> float:
    """Log-likelihood ratio taken : free of near samples, samples and weight under each shift."""
    fast = speed_mps >= FAST_MPS
    if_taken, if_free = IF_TAKEN[fast], IF_FREE[fast]
    taken = free = known = 0.0
    common = 0.0
    for near, count, weight in shares:
        if not count:
            continue
        at = grade(near, count)
        taken += weight * if_taken[at]
        free += weight * if_free[at]
        common += weight * (USUAL * if_taken[at] + (1 - USUAL) * if_free[at])
        known += weight
    if not known:
        return 0.0
    # Elsewhere a look says nothing of this stall: it is as likely as such looks are.
    lost = max(1.0 - known, LOST) * common / known
    return round(math.log((taken + lost) / (free + lost)), 2)
