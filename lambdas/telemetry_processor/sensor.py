"""What a look at a stall is worth: the likelihood of a share of near samples, calibrated.

Where a stretch lies right, the sensor hardly errs: a parked car answers over most of the stall's
middle, and nothing else stands there. What looks get wrong is where they are, so the tables are of
looks that lie right, and doubt about that is weighed by the shifts' probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from fleet_sim.contract.tables import USUAL

GRADES = 5
"""A look's share of near samples is told in so many steps."""
FAST_MPS = 11.0
"""From here on a vehicle loses so many echoes that its looks have tables of their own."""
IF_TAKEN = (
    (0.0025, 0.001, 0.0098, 0.0905, 0.4932, 0.403),
    (0.002, 0.02, 0.065, 0.193, 0.454, 0.266),
)
IF_FREE = (
    (0.9844, 0.015, 0.0001, 0.0001, 0.0002, 0.0002),
    (0.983, 0.016, 0.0002, 0.0002, 0.0003, 0.0003),
)
IF_BESIDE = (
    (0.8659, 0.0122, 0.0022, 0.0185, 0.065, 0.0362),
    (0.839, 0.019, 0.0194, 0.0354, 0.0572, 0.03),
)
"""Share of looks of each grade at taken and at free stalls, and a stall's length beside a row of
them (driveways, corners, crossings), of stretches laid by the truth: 380,000 looks in the generated
city of `fleet-sim bench parking`, seeds 1 to 3; 30 km/h, 50 km/h."""
LOST = 0.005
"""Weight at least of all shifts that were not judged under: then the look was at something else."""
MAX_LLR = 6.0


def grade(near: int, count: int) -> int:
    return round(near / count * GRADES)


def fits_of(speed_mps: float) -> tuple[float, ...]:
    """By grade: log-likelihood ratio that a stall is there : that none is."""
    return _FITS[speed_mps >= FAST_MPS]


_FITS = tuple(
    tuple(
        math.log((USUAL * taken + (1 - USUAL) * free) / beside)
        for taken, free, beside in zip(*tables, strict=True)
    )
    for tables in zip(IF_TAKEN, IF_FREE, IF_BESIDE, strict=True)
)


def llr_of(shares: Iterable[tuple[int, int, float]], speed_mps: float) -> float:
    """Log-likelihood ratio taken : free of near samples, samples and weight under each shift."""
    fast = speed_mps >= FAST_MPS
    if_taken, if_free = IF_TAKEN[fast], IF_FREE[fast]
    taken = free = known = 0.0
    for near, count, weight in shares:
        if not count:
            continue
        at = grade(near, count)
        taken += weight * if_taken[at]
        free += weight * if_free[at]
        known += weight
    if not known:
        return 0.0
    # Elsewhere a look says nothing of this stall: it is as likely as such looks are.
    lost = max(1.0 - known, LOST) * (USUAL * taken + (1 - USUAL) * free) / known
    llr = math.log((taken + lost) / (free + lost))
    return round(min(max(llr, -MAX_LLR), MAX_LLR), 2)
