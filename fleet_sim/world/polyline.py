"""Lines of few straight pieces, none of them short."""

from itertools import pairwise

import numpy as np

from fleet_sim.models.arrays import FloatArray

TOLERANCE_M = 2.0
"""Points of a line that are nearer than this to its simplified form are left out."""
MIN_PIECE_M, MAX_PIECE_M = 18.0, 1000.0
"""A shorter piece would hide the traffic beyond it from a driver."""


def length_m(line: FloatArray) -> float:
    """Of a line [k, 2]."""
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def shaped(line: FloatArray) -> FloatArray:
    """The line [k, 2] with the points that matter, none nearer than `MIN_PIECE_M` to the next and
    none further than `MAX_PIECE_M`; a ring keeps at least two besides its ends."""
    ring = bool((line[0] == line[-1]).all())
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))))
    if ring:
        thirds = [int(np.abs(along - along[-1] * k / 3).argmin()) for k in (1, 2)]
        cuts = [0, *(t for t in thirds if 0 < t < len(line) - 1), len(line) - 1]
        if len(set(cuts)) < 4:
            share = along[-1] * np.array([0, 1, 2, 3]) / 3
            line = np.stack([np.interp(share, along, line[:, k]) for k in (0, 1)], axis=1)
            cuts = [0, 1, 2, 3]
        kept = {a + i for a, b in pairwise(cuts) for i in _simplified(line[a : b + 1])}
        line = line[sorted(kept)]
    else:
        line = line[_simplified(line)]
    points = [line[0]]
    for point in line[1:-1]:
        near = min(np.hypot(*(point - points[-1])), np.hypot(*(point - line[-1])))
        if near >= MIN_PIECE_M:
            points.append(point)
    points.append(line[-1])
    return _split(np.array(points))


def _simplified(line: FloatArray) -> list[int]:
    """Indices of the points to keep (Ramer, Douglas and Peucker)."""
    keep, stack = {0, len(line) - 1}, [(0, len(line) - 1)]
    while stack:
        a, b = stack.pop()
        if b - a < 2:
            continue
        along = line[b] - line[a]
        base = float(np.hypot(*along))
        off = line[a + 1 : b] - line[a]
        away = (
            np.abs(along[0] * off[:, 1] - along[1] * off[:, 0]) / base
            if base > 0.0
            else np.hypot(*off.T)
        )
        worst = int(away.argmax())
        if away[worst] > TOLERANCE_M:
            middle = a + 1 + worst
            keep.add(middle)
            stack += [(a, middle), (middle, b)]
    return sorted(keep)


def _split(line: FloatArray) -> FloatArray:
    parts = [line[:1]]
    for a, b in pairwise(line):
        n = int(np.ceil(np.hypot(*(b - a)) / MAX_PIECE_M))
        parts.append(a + (b - a) * (np.arange(1, n + 1) / n)[:, None])
    return np.concatenate(parts)
