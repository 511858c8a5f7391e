"""`--vehicles` and `--duration`."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleet_sim.scenario import ScenarioError, check, dump, loads, scale_fleet, with_duration

TEXT = """\
name: x
fleet:
  - {group: a, count: 60}
  - {group: b, count: 30}
  - {group: c, count: 10}
phases:
  - {name: calm, duration: 30s}
  - {name: surge, duration: 50s, parking: {event: {at: arena, attendance: 9, peak_before: 20s}}}
  - {name: egress, duration: 40s, parking: {event: {at: arena, leaves: 75%}}}
faults:
  - {at: 55s, for: 8s, radio: {}}
  - {at: 0, for: 120s, radio: {}}
"""


def fleet_of(counts):
    groups = "".join(f"  - {{group: g{i}, count: {n}}}\n" for i, n in enumerate(counts))
    return loads(f"name: x\nfleet:\n{groups}phases:\n  - {{name: p, duration: 1s}}\n")


@pytest.mark.parametrize(
    ("vehicles", "counts"),
    [
        (100, [60, 30, 10]),
        (1000, [600, 300, 100]),
        (50, [30, 15, 5]),
        (7, [4, 2, 1]),
        (4, [2, 1, 1]),
        (3, [1, 1, 1]),
        (2, [1, 1]),
        (1, [1]),
    ],
)
def test_vehicles_are_shared_out(vehicles, counts):
    scaled = scale_fleet(loads(TEXT), vehicles)
    assert [group.count for group in scaled.fleet] == counts
    assert scaled.phases == loads(TEXT).phases


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12), st.integers(1, 5000))
def test_the_total_is_exact_and_near_the_proportion(counts, vehicles):
    scenario = fleet_of(counts)
    scaled = scale_fleet(scenario, vehicles)
    assert scaled.vehicles == vehicles
    assert min(group.count for group in scaled.fleet) >= 1
    assert len(scaled.fleet) == min(len(counts), vehicles)
    if vehicles >= len(counts):
        for group, before in zip(scaled.fleet, counts, strict=True):
            exact = vehicles * before / sum(counts)
            # Who would get nothing gets one, from the largest.
            assert exact - len(counts) < group.count < exact + 1 or group.count == 1


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12))
def test_scaling_to_what_it_is_changes_nothing(counts):
    assert scale_fleet(fleet_of(counts), sum(counts)) == fleet_of(counts)


@pytest.mark.parametrize("vehicles", [0, -1, 1_000_001])
def test_vehicles_out_of_range(vehicles):
    with pytest.raises(ScenarioError) as caught:
        scale_fleet(loads(TEXT), vehicles)
    message = f"{vehicles} is not allowed (allowed: 1..1000000)"
    assert str(caught.value) == f"--vehicles {vehicles}: {message}"


def test_a_larger_fleet_is_checked():
    scenario = loads(TEXT, overrides=["fleet.a.telemetry.period=50ms"])
    with pytest.raises(ScenarioError, match=r"--vehicles 900000: fleet: .* messages a second"):
        scale_fleet(scenario, 900_000)


def test_a_shorter_run():
    short = with_duration(loads(TEXT), 12)
    assert [phase.duration_s for phase in short.phases] == [3, 5, 4]
    assert short.phases[1].parking.event.peak_before_s == 2
    assert [(fault.at_s, fault.for_s) for fault in short.faults] == [(5.5, 0.8), (0, 12)]
    assert short.fleet == loads(TEXT).fleet
    assert with_duration(loads(TEXT), 120) == loads(TEXT)


@given(st.floats(0.5, 80_000))
def test_any_length_fits_together(seconds):
    scaled = with_duration(loads(TEXT), seconds)
    assert scaled.duration_s == pytest.approx(seconds, abs=0.0006)
    assert not check(scaled)
    assert loads(dump(scaled)) == scaled


@given(
    st.lists(st.integers(100, 90_000), min_size=1, max_size=8),
    st.floats(0, 0.999),
    st.floats(0, 1),
    st.floats(1, 10_000),
)
def test_a_fault_stays_within_the_phases(phases_ms, begin, long, seconds):
    total_ms = sum(phases_ms)
    at_ms = int(begin * total_ms)
    for_ms = max(int(long * (total_ms - at_ms)), 1)
    assume(at_ms < total_ms)
    phases = "".join(f"  - {{name: p{i}, duration: {n}ms}}\n" for i, n in enumerate(phases_ms))
    text = (
        f"name: x\nfleet: [{{group: a, count: 1}}]\nphases:\n{phases}"
        f"faults: [{{at: {at_ms}ms, for: {for_ms}ms, radio: {{}}}}]\n"
    )
    assume(seconds * 1000 * min(phases_ms) / total_ms > 101)
    scaled = with_duration(loads(text), seconds)
    (fault,) = scaled.faults
    assert fault.at_s == pytest.approx(at_ms / total_ms * seconds, abs=0.002)
    assert loads(dump(scaled)) == scaled  # so it is valid


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (0.3, "--duration 0.3s: phases[0].duration: 75ms is not allowed"),
        (0, "--duration 0s: phases[0].duration: 0ms is not allowed"),
        (-1, "--duration -1s: -1.0 is not allowed"),
        (float("nan"), "--duration nans: nan is not allowed"),
        (1e9, "--duration 1e+09s: 1000000000.0 is not allowed"),
    ],
)
def test_lengths_that_are_refused(seconds, message):
    with pytest.raises(ScenarioError) as caught:
        with_duration(loads(TEXT), seconds)
    assert str(caught.value).startswith(message)
