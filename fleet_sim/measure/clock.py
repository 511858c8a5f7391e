"""How far the cloud's clock is ahead of the generator's, from the messages themselves.

A message and the API's answer that shows it are a request and its response, with the four times
of NTP (RFC 5905, section 8): sent by the generator's clock, in the stream and stored by the
cloud's, seen by the generator's. Nothing arrives before it left, so the offset is at most
`stream - sent` of every message, and at least `stored - seen` of every one that was seen: the
middle of what all of them allow is the estimate, and half its width the bound of its error.
"""

import msgspec
import numpy as np

from fleet_sim.measure.blocks import blocks
from fleet_sim.measure.stages import NsArray

RESOLUTION_NS = 1_000_000
"""A stream's arrival times are whole ms, cut off."""


class ClockOffset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of the cloud's clock, relative to the generator's."""

    offset_ms: float
    """Positive: the cloud's clock is ahead, and latencies up to the cloud seem too long by it."""
    error_ms: float
    """The true offset is within this of `offset_ms`, if it did not change during the run."""
    steady: bool
    """False: no one offset fits all messages, a clock was stepped or drifted; the estimate is that
    of the fastest round trip alone."""
    round_trips: int
    """Messages that were seen at the API, with all four times."""
    negative: dict[str, int]
    """Messages that reached a stage before they were due, by the cloud's clock: by stage."""


def clock_offset(
    sent_ns: NsArray,
    stream_ns: NsArray,
    stored_ns: NsArray,
    visible_ns: NsArray,
    negative: dict[str, int],
) -> ClockOffset | None:
    """`[n]` each, 0 where unknown. None when no message was seen at the API."""
    outward, whole = [], []
    for block in blocks(len(sent_ns)):
        sent, stream = sent_ns[block], stream_ns[block]
        known = (sent != 0) & (stream != 0)
        if not known.any():
            continue
        outward.append(int((stream - sent)[known].min()))
        known &= (stored_ns[block] != 0) & (visible_ns[block] != 0)
        whole.append(np.flatnonzero(known) + block.start)
    rows = np.concatenate(whole) if whole else np.zeros(0, np.intp)
    if not len(rows):
        return None
    out, back = stream_ns[rows] - sent_ns[rows], stored_ns[rows] - visible_ns[rows]
    most = float(min(outward)) + RESOLUTION_NS
    least = float(back.max())
    steady = least <= most
    if not steady:
        fastest = int(np.argmin(out - back))
        most, least = float(out[fastest]) + RESOLUTION_NS, float(back[fastest])
    return ClockOffset(
        offset_ms=(most + least) / 2e6,
        error_ms=abs(most - least) / 2e6,
        steady=steady,
        round_trips=len(rows),
        negative=negative,
    )


def said(clock: ClockOffset) -> str:
    """In a sentence or two, for people."""
    ahead = "ahead of" if clock.offset_ms >= 0 else "behind"
    text = (
        f"The cloud's clock was {abs(clock.offset_ms):.1f} ms {ahead} the generator's, to within "
        f"{clock.error_ms:.1f} ms ({clock.round_trips:,} round trips)."
    )
    if not clock.steady:
        text += " It did not stay so: no one offset fits all, a clock was stepped or drifts."
    early = {stage: count for stage, count in clock.negative.items() if count}
    if early:
        counts = ", ".join(f"{stage} {count:,}" for stage, count in early.items())
        text += (
            " By it, messages reached a stage before they were due, and are left out of that"
            f" stage's latencies: {counts}."
        )
        if -clock.offset_ms - clock.error_ms > 0:
            text += " The clocks explain that: set the generator's by NTP."
    return text
