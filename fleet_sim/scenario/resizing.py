"""More vehicles or fewer (`--vehicles`), longer or shorter (`--duration`): the same scenario."""

import msgspec

from fleet_sim.scenario.check import MAX_VEHICLES, check
from fleet_sim.scenario.model import Fault, Phase, Scenario
from fleet_sim.scenario.problems import Place, Problem, ScenarioError
from fleet_sim.scenario.units import Duration

_MIN_PHASE_MS = 100


def scale_fleet(scenario: Scenario, vehicles: int) -> Scenario:
    """`vehicles` in all, shared out in the proportion of the groups (largest remainders).

    Each group keeps at least one vehicle. With fewer vehicles than groups the largest groups keep
    one each and the others are left out. Everything else stays, the attendance of events too.
    `ScenarioError` when `vehicles` is out of range or the result does not fit together.
    """
    place = Place(f"--vehicles {vehicles}")
    if not 1 <= vehicles <= MAX_VEHICLES:
        message = f"{vehicles} is not allowed (allowed: 1..{MAX_VEHICLES})"
        raise ScenarioError([Problem.at(place, (), message)])
    counts = _shares([group.count for group in scenario.fleet], vehicles)
    fleet = tuple(
        msgspec.structs.replace(group, count=count)
        for group, count in zip(scenario.fleet, counts, strict=True)
        if count
    )
    return _checked(msgspec.structs.replace(scenario, fleet=fleet), place)


def _shares(weights: list[int], total: int) -> list[int]:
    """Whole numbers of the given sum, near the proportion of `weights`, 0 only when it must be."""
    largest_first = sorted(range(len(weights)), key=lambda i: -weights[i])
    if total <= len(weights):
        kept = set(largest_first[:total])
        return [int(i in kept) for i in range(len(weights))]
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(largest_first, key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    for i, share in enumerate(shares):
        if share == 0:
            shares[shares.index(max(shares))] -= 1
            shares[i] = 1
    return shares


def with_duration(scenario: Scenario, seconds: float) -> Scenario:
    """All phases together last `seconds` of simulated time; faults and peaks move with them.

    Times are rounded to whole milliseconds. `ScenarioError` when a phase would be shorter than
    100 ms, or `seconds` is no duration.
    """
    place = Place(f"--duration {seconds:g}s")
    try:
        total = Duration(seconds)
    except ValueError as error:
        raise ScenarioError([Problem.at(place, (), str(error))]) from None
    old_s = scenario.duration_s
    target_ms = round(total * 1000)

    def ms(old: float) -> int:
        return min(round(old / old_s * target_ms), target_ms)

    phases: list[Phase] = []
    begin_s = 0.0
    for i, phase in enumerate(scenario.phases):
        end_s = begin_s + phase.duration_s
        last = i == len(scenario.phases) - 1
        long_ms = (target_ms if last else ms(end_s)) - ms(begin_s)
        if long_ms < _MIN_PHASE_MS:
            message = (
                f"{long_ms}ms is not allowed, at the scale of the others "
                f"(allowed: at least {_MIN_PHASE_MS}ms; make the whole longer)"
            )
            raise ScenarioError([Problem.at(place, ("phases", i, "duration"), message)])
        phases.append(_scaled_phase(phase, long_ms))
        begin_s = end_s
    faults = tuple(
        _scaled_fault(fault, ms(fault.at_s), ms(fault.at_s + fault.for_s))
        for fault in scenario.faults
    )
    return _checked(msgspec.structs.replace(scenario, phases=tuple(phases), faults=faults), place)


def _scaled_phase(phase: Phase, long_ms: int) -> Phase:
    event = phase.parking.event
    if event is not None and event.peak_before_s is not None:
        peak_ms = min(round(event.peak_before_s / phase.duration_s * long_ms), long_ms)
        event = msgspec.structs.replace(event, peak_before_s=Duration(peak_ms / 1000))
    parking = msgspec.structs.replace(phase.parking, event=event)
    return msgspec.structs.replace(phase, duration_s=Duration(long_ms / 1000), parking=parking)


def _scaled_fault(fault: Fault, at_ms: int, end_ms: int) -> Fault:
    # A fault never vanishes: it lasts a millisecond at least, within the phases.
    at_ms = min(at_ms, end_ms - 1) if at_ms else 0
    for_ms = max(end_ms - at_ms, 1)
    return msgspec.structs.replace(
        fault, at_s=Duration(at_ms / 1000), for_s=Duration(for_ms / 1000)
    )


def _checked(scenario: Scenario, place: Place) -> Scenario:
    if findings := check(scenario):
        raise ScenarioError(Problem.at(place, path, message) for path, message in findings)
    return scenario
