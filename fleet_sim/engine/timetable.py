"""When a share's messages are due, and how the world steps between them, in wall time."""

from fleet_sim.engine.pacing import Schedule
from fleet_sim.scenario import Scenario
from fleet_sim.world import Share

SHORTEST_STEP_S, LONGEST_STEP_S, STEPS_A_MESSAGE = 0.1, 0.2, 5
"""Wall time between steps of the world: it steps so often between two messages of a vehicle that
these are hardly older than they are sent, within what motion (a driver's reaction) and the machine
can do with."""

_ONE_S = 1_000_000_000


def duration_ns(scenario: Scenario) -> int:
    """Wall time of all phases."""
    return round(scenario.duration_s / scenario.clock.speed * _ONE_S)


def schedules(scenario: Scenario, share: Share) -> list[Schedule]:
    """When the messages of the share's vehicles are due, by group."""
    return [
        Schedule(
            group.count,
            round(group.telemetry.period_s / scenario.clock.speed * _ONE_S),
            duration_ns(scenario),
            own if own.size < group.count else None,
        )
        for group, own in zip(scenario.fleet, share.own, strict=True)
    ]


def step_s(scenario: Scenario) -> float:
    """Wall time between steps of the world."""
    period_s = min(group.telemetry.period_s for group in scenario.fleet) / scenario.clock.speed
    longest_s = LONGEST_STEP_S / scenario.clock.speed  # what a driver does takes simulated time
    return max(min(period_s / STEPS_A_MESSAGE, longest_s), SHORTEST_STEP_S)
