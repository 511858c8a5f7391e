"""Sonar samples of a stretch as bits of whole numbers, one bit a cell of the way.

A shift along the street is then tried with a few shifts, ands and counts. A sample stands for the
way up to halfway to its neighbours. Pure.
"""

from __future__ import annotations

from telemetry_processor.track import Burst

CELL_M = 0.25
DELAY_S = 0.075
"""By how much the last sample is older than its message: 50 ms in the vehicle's network and half a
cycle of a sensor that runs free, the mean."""
LONGEST_DIP_M = 30.0
"""Near echoes on end for so long are no row of parked cars but one that drives alongside."""


class Samples:
    """Cells from `origin` (metres by the odometer) on: `near` beside what may be a parked car,
    `far` beside nothing near."""

    def __init__(self, bursts: tuple[Burst, ...], at: list[float], origin: float) -> None:
        near = passed = 0
        count = heard = 0
        way = 0.0
        for burst, s in zip(bursts, at, strict=True):
            speed = burst.speed_cmps / 100
            step = speed / burst.rate_hz / CELL_M
            last = (s - speed * DELAY_S - origin) / CELL_M
            start = last - (burst.count - 0.5) * step
            begin = round(start)
            passed |= ((1 << (round(last + 0.5 * step) - begin)) - 1) << begin
            # Runs of near samples: most bursts have two or three.
            bits, i = burst.near, 0
            hit = 0
            while bits:
                zeros = (bits & -bits).bit_length() - 1
                bits >>= zeros
                ones = (~bits & (bits + 1)).bit_length() - 1
                bits >>= ones
                low = round(start + (i + zeros) * step)
                i += zeros + ones
                hit |= ((1 << (round(start + i * step) - low)) - 1) << (low - begin)
            near |= hit << begin
            count += burst.count
            heard += burst.heard.bit_count()
            way += speed / burst.rate_hz * burst.count
        self.near, self.far = near, passed & ~near
        self.heard = heard / count
        """Share of samples with any echo."""
        self.speed_mps = way / count * bursts[0].rate_hz
        self._drop_companions()

    def grade(self, begin: int, cells: int) -> tuple[int, int]:
        """How many of `cells` from cell `begin` on are near, and how many were passed."""
        mask = (1 << cells) - 1
        if begin < 0:
            mask, begin = mask >> -begin, 0
        near = (self.near >> begin & mask).bit_count()
        return near, near + (self.far >> begin & mask).bit_count()

    def _drop_companions(self) -> None:
        """Forget near echoes on end for longer than any row of parked cars."""
        cells = round(LONGEST_DIP_M / CELL_M)
        # A span of that length holds a whole block of half of it without a far sample.
        half = (1 << cells // 2) - 1
        near, far = self.near, self.far
        while near:
            if near & half and not far & half:
                break
            near >>= cells // 2
            far >>= cells // 2
        else:
            return
        # Spans end at far cells; what was not passed ends none.
        rest, far = self.near, self.far
        at = 0
        while rest >> at:
            low = at + ((rest >> at) & -(rest >> at)).bit_length() - 1
            beyond = far >> low
            end = low + (beyond & -beyond).bit_length() - 1 if beyond else rest.bit_length()
            span = (rest >> low) & ((1 << (end - low)) - 1)
            if span.bit_length() > cells:
                self.near &= ~(((1 << (end - low)) - 1) << low)
            at = end
