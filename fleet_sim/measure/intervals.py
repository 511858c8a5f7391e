"""Interval text: `1-118,120-121` stands for sequence numbers 1 to 118 and 120 to 121.

The audit's own reading of what the cloud wrote; it shares no code with the writer on purpose.
"""

import re

MAX_SEQ = 2**32 - 1

_PART = re.compile(r"([1-9][0-9]{0,9})(?:-([1-9][0-9]{0,9}))?", re.ASCII)


def parse_intervals(vin: str, text: str) -> list[tuple[int, int]]:
    """Inclusive ranges in ascending order; empty text is none.

    `ValueError` names the vehicle and the text when it is not such a list, or not ascending and
    disjoint, or has a number outside 1..2^32-1.
    """
    if not text:
        return []
    intervals: list[tuple[int, int]] = []
    previous = 0
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if not found:
            raise _malformed(vin, text, f"{part!r} is not N or N-M")
        first = int(found[1])
        last = int(found[2] or first)
        if not first <= last <= MAX_SEQ:
            raise _malformed(vin, text, f"{part!r} is not a range within 1..{MAX_SEQ}")
        if first <= previous:
            raise _malformed(vin, text, f"{part!r} does not come after {previous}")
        intervals.append((first, last))
        previous = last
    return intervals


def _malformed(vin: str, text: str, problem: str) -> ValueError:
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return ValueError(
        f"applied intervals of vehicle {vin}: {shown!r}: {problem}"
        " (allowed: ascending, disjoint ranges like 1-118,120-121)"
    )
