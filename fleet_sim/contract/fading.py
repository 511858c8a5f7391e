"""How what is known of a stall fades with age. Pure: the processor folds looks with it, the API
serves with it.

Cars come and go as a two-state Markov chain: what a look told decays exponentially towards the
share of stalls that is usually taken. The time constant is that of the chain: who leaves does so
once a mean dwell, and in balance as many arrive, so mean dwell × (1 - usual occupancy).
"""

from __future__ import annotations

import math

import msgspec

from fleet_sim.contract.api import SpotState
from fleet_sim.contract.tables import RELAX_S, USUAL, SpotBelief

OCCUPIED_AT, FREE_AT = 0.7, 0.3
"""From here on a stall is called occupied, or free."""
UNKNOWN_WITHIN = 0.1
"""Hysteresis: a call holds until the belief reaches the other one, or `0.5 ± UNKNOWN_WITHIN`."""
FORGOTTEN = 0.25
"""A call holds at most until so much is left of what the last look told: the usual occupancy alone
is no reason to call a stall occupied."""


def remaining(age_ms: float, relax_s: float = RELAX_S) -> float:
    """Share of what a look told that is left after `age_ms`, 0-1; a look of the future counts as of
    now."""
    return math.exp(-max(age_ms, 0.0) / (1000.0 * relax_s))


def faded(
    p_occupied: float, age_ms: float, usual: float = USUAL, relax_s: float = RELAX_S
) -> float:
    """A belief of `p_occupied` after `age_ms` without a look."""
    return usual + (p_occupied - usual) * remaining(age_ms, relax_s)


def held(state: SpotState, p_occupied: float, left: float = 1.0) -> SpotState:
    """The call after the belief has become `p_occupied`, with `left` of the last look remaining.

    A belief that is strong enough makes a call only when it is fresh (`left` 1: a look was just
    taken); fading only ever ends calls.
    """
    if left >= 1.0:
        if p_occupied >= OCCUPIED_AT:
            return "occupied"
        if p_occupied <= FREE_AT:
            return "free"
    elif left < FORGOTTEN:
        return "unknown"
    if state == "occupied" and p_occupied < 0.5 + UNKNOWN_WITHIN:
        return "unknown"
    if state == "free" and p_occupied > 0.5 - UNKNOWN_WITHIN:
        return "unknown"
    return state


def as_of(belief: SpotBelief, now_ms: float) -> SpotBelief:
    """The belief as it is at `now_ms` of the reader's clock, ms since the epoch.

    Call and probability fade; what was observed and when stays. A spot never seen stays as it is.
    """
    if not belief.last_seen_ms:
        return belief
    left = remaining(now_ms + belief.ahead_ms - belief.last_seen_ms, belief.relax_s)
    p = belief.usual + (belief.p_occupied - belief.usual) * left
    return msgspec.structs.replace(
        belief,
        p_occupied=round(p, 4),
        state=held(belief.state, p, left),
    )
