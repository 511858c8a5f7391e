"""What drivers do: acceleration of everybody on the road, from what is ahead of it."""

from typing import NamedTuple

import numpy as np

from fleet_sim.models import motion
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.models.motion import IDM
from fleet_sim.world import traffic
from fleet_sim.world.traffic import STOP_LINE_M, Stopping


class Seen(NamedTuple):
    """m > 0 vehicles on the road, by lane and position; all [m]. Metres, seconds."""

    lane: IntArray
    x: FloatArray
    """Of the vehicle's middle, along its edge."""
    v: FloatArray
    accel: FloatArray
    """In the step before."""
    half: FloatArray
    """Half its length."""
    next_lane: IntArray
    to_end: FloatArray
    """From its middle to the crossing."""
    stop_x: FloatArray
    """Where it wants to stop, `NOWHERE_M` for nowhere."""
    cap: FloatArray
    """The lesser of the street's limit and the vehicle's."""
    v_turn: FloatArray
    """Of the turn at the edge's end."""
    red: BoolArray
    """Whether its edge has a red light (or amber)."""
    held: BoolArray
    """Whether it braked for one in the step before, ..."""
    goes: BoolArray
    """... and went ahead at a merge."""


class Decision(NamedTuple):
    """What they do in this step; [m]."""

    accel: FloatArray
    held: BoolArray
    goes: BoolArray
    gap: FloatArray
    """To the vehicle ahead."""
    emergencies: int
    """How many give up the limit of jerk to avoid a collision."""


def decide(seen: Seen, dt_s: float, n_lanes: int) -> Decision:
    """IDM with jerk against the strongest of: the vehicle ahead, a stop, a red light, a queue on
    the lane that one will take, and who goes first at a merge."""
    v, before, to_end = seen.v, seen.accel, seen.to_end
    near = traffic.near_crossing(v, to_end)
    look = np.flatnonzero(seen.red | near)
    stopping = Stopping.of(v[look], before[look])
    # Who began to brake for a red light goes on to.
    line = to_end[look] - seen.half[look] - STOP_LINE_M
    stays = seen.held[look] | (stopping.firm_m <= np.maximum(line, 0.3))
    stays &= seen.red[look] & (line > -1.0)
    held = np.zeros(v.size, dtype=np.bool_)
    held[look] = stays

    ahead = traffic.leaders(seen.lane, seen.x, v, seen.half, seen.next_lane, to_end, n_lanes)
    gap, lead = ahead.gap, ahead.lead
    # Row 0: the vehicle ahead; row 1: a stall or a red light, which are standing leaders.
    gaps, leads = np.empty((2, v.size)), np.zeros((2, v.size))
    gaps[0], leads[0] = gap, lead
    stop = np.subtract(seen.stop_x, seen.x, out=gaps[1])
    red = look[stays]
    stop[red] = np.minimum(stop[red], line[stays])
    stop += IDM.standstill_m
    ratio = np.maximum(*motion.interaction(v, gaps, leads))
    after, queue = traffic.queues_ahead(seen.x, v, seen.half, seen.next_lane, to_end, ahead)
    ratio[after] = np.maximum(ratio[after], queue)
    merging = near[look] & ~stays
    later, yields, going = traffic.give_way(
        look[merging],
        seen.lane,
        v,
        seen.half,
        seen.next_lane,
        to_end,
        Stopping(stopping.firm_m[merging], stopping.late_m[merging]),
        seen.goes,
        ahead.ends,
    )
    ratio[later] = np.maximum(ratio[later], yields)
    goes = np.zeros(v.size, dtype=np.bool_)
    goes[going] = True

    free = motion.approach_speed(seen.cap, seen.v_turn, to_end)
    accel = motion.acceleration(v, free, ratio)
    accel = motion.slow_for(accel, v, seen.v_turn, to_end)
    accel = motion.foresee(accel, before, v, gap, lead)
    urgent = motion.must_brake_hard(v, gap, lead)
    emergencies = int(np.count_nonzero(urgent))
    accel = motion.with_jerk(accel, before, v, dt_s, urgent if emergencies else None)
    return Decision(accel, held, goes, gap, emergencies)
