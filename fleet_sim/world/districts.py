"""Parts of a city with a character of their own: how full their kerbs are, and for how long."""

import numpy as np

from fleet_sim.models import gnss
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray

CENTRE, MIXED, RESIDENTIAL, INDUSTRIAL = range(4)
NAMES = ("centre", "mixed", "residential", "industrial")
RECEPTION = np.array([gnss.CANYON, gnss.STREET, gnss.STREET, gnss.OPEN])
"""Of satellites: high houses in the centre, low and far ones among industry (assumption)."""
CROWDED = np.array([0.8, 0.2, -0.1, -0.6])
"""Log-odds that a stall is taken, against the city's mean (assumption: 60 % on average is 77 % in
the centre and 46 % among industry)."""
DWELL_WEIGHT = np.array(
    [[0.70, 0.22, 0.08], [0.60, 0.25, 0.15], [0.50, 0.27, 0.23], [0.45, 0.15, 0.40]]
)
"""Share of errands, visits and work (or the night) among those who park (assumption)."""
ATTRACTION = np.array([1.6, 1.1, 0.9, 0.6])
"""Destinations a metre of street, relative (assumption)."""
_MIXED_REACH, _INDUSTRY_REACH = 0.6, 0.7
"""Of the way from the middle to the city's edge: where the mixed quarter ends, where industry
begins."""


def characters(x: FloatArray, y: FloatArray, centre: BoolArray, side: int) -> IntArray:
    """Which district points are in, [k].

    `x`, `y`: from the city's middle, 1 at its edges; `centre`: which are in the centre. Around it
    is a mixed quarter, then houses, and industry at the city's edge on one `side`, 0-3: north,
    east, south, west.
    """
    out = np.maximum(np.abs(x), np.abs(y))
    that_way = (y, x, -y, -x)[side]
    found = np.where(out < _MIXED_REACH, MIXED, RESIDENTIAL)
    found[that_way > _INDUSTRY_REACH] = INDUSTRIAL
    found[centre] = CENTRE
    return np.asarray(found)


def occupancies(mean: float, character: IntArray) -> FloatArray:
    """Share of taken stalls by character, [4], such that stalls of `character` [S] have the `mean`
    on average; in equilibrium."""
    count = np.bincount(character, minlength=len(NAMES))
    if not 0.0 < mean < 1.0 or not character.size:
        return np.full(len(NAMES), mean)
    low, high = -30.0, 30.0
    shares = np.full(len(NAMES), mean)
    for _ in range(60):
        middle = (low + high) / 2
        shares = 1.0 / (1.0 + np.exp(-(CROWDED + middle)))
        if (shares * count).sum() < mean * character.size:
            low = middle
        else:
            high = middle
    return shares
