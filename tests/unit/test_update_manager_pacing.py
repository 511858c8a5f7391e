"""A campaign's windows and its rate: never more than that in any stretch of open time."""

import datetime as dt
import itertools

import pytest
from campaign_bench import campaign, fleet, request, starts
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_sim.contract.campaign_records import job_id
from fleet_sim.contract.campaigns import Clock, Plan, Window, plan_of
from update_manager import pacing
from update_manager.logic import CancelJob
from update_manager.memory import MemoryCampaign
from update_manager.planning import Vehicle

HOUR_S, DAY_S = 3_600.0, 86_400.0


def test_a_closed_window_earns_no_starts() -> None:
    service = campaign(
        100, waves={"shares": [1.0], "per_minute": 10}, window={"begin": 1_320, "end": 300}
    )
    assert len(starts(service.due(0.0))) == 10  # midnight
    assert len(starts(service.due(4.99 * HOUR_S))) == 10
    assert starts(service.due(12 * HOUR_S)) == []
    opening_s = 22 * HOUR_S
    begun = [len(starts(service.due(opening_s + t))) for t in (0.0, 10.0, 23.0, 24.0, 60.0, 84.0)]
    assert begun == [0, 0, 0, 10, 0, 10]  # 36 s of the minute had passed when it closed


def test_an_opening_lets_no_more_begin_than_the_rate() -> None:
    """Once the wave's beginning counted: ten hours of closed window were 6,000 starts."""
    service = campaign(
        100, waves={"shares": [1.0], "per_minute": 10}, window={"begin": 600, "end": 720}
    )
    assert starts(service.due(0.0)) == []
    begun = [len(starts(service.due(10 * HOUR_S + t))) for t in (0.0, 1.0, 59.0, 60.0, 61.0)]
    assert begun == [10, 0, 0, 10, 0]


def test_a_rate_below_one_and_one_that_is_no_whole_number() -> None:
    for rate, span_s in ((0.5, 120.0), (1.5, 40.0), (2.5, 48.0)):
        service = campaign(20, waves={"shares": [1.0], "per_minute": rate})
        most = max(1, int(rate))
        times = (0.0, span_s - 1.0, span_s, 2 * span_s - 1.0, 2 * span_s)
        assert [len(starts(service.due(t))) for t in times] == [most, 0, most, 0, most]


def test_the_rate_goes_over_from_one_wave_to_the_next() -> None:
    service = campaign(100, waves={"shares": [0.1, 1.0], "soak_s": 0, "per_minute": 10})
    first = starts(service.due(0.0))
    for thing in first:
        service.observe(thing, job_id("c", service.targets[thing], 1), "SUCCEEDED", 5.0)
    assert starts(service.due(6.0)) == []
    assert service.campaign.wave == 1
    assert len(starts(service.due(60.0))) == 10


def test_a_part_that_does_not_fit_whole_is_started_as_far_as_it_does() -> None:
    vehicles = [*fleet(4, region="a"), *(v._replace(thing=f"W{v.thing}") for v in fleet(6))]
    rules = {"shares": [1.0], "per_minute": 6}
    service = MemoryCampaign("c", request(waves=rules), vehicles, 0.0)
    first, second = starts(service.due(0.0)), starts(service.due(60.0))
    assert (len(first), len(second)) == (6, 4)
    assert len({*first, *second}) == 10


class AnOpenClock:
    """Open time by a formula, for one window without zones."""

    def __init__(self, begin: int, end: int, offset: int) -> None:
        self.begin_s, self.open_s = begin * 60.0, (end - begin) % 1_440 * 60.0
        self.offset_s = offset * 60.0

    def at(self, now_s: float) -> float:
        days, rest_s = divmod(now_s + self.offset_s - self.begin_s, DAY_S)
        return days * self.open_s + min(rest_s, self.open_s)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 7.5, 20.0, 61.0, 600.0, 5_000.0, 80_000.0]),
        st.sampled_from(["", "", "", "", "pause", "resume", "resume", "take back"]),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    rate=st.sampled_from([0.3, 1.0, 2.5, 7.0]),
    window=st.sampled_from([(0, 30, 0), (1_320, 300, 60), (600, 601, -90), (0, 1_439, 0)]),
    steps=STEPS,
)
def test_no_stretch_of_open_time_has_more_starts_than_the_rate(
    rate: float, window: tuple[int, int, int], steps: list[tuple[float, str]]
) -> None:
    begin, end, offset = window
    service = campaign(
        60, waves={"shares": [1.0], "per_minute": rate},
        window={"begin": begin, "end": end, "utc_offset_min": offset},
        timeouts={"unreached_s": 366 * DAY_S},
    )  # fmt: skip
    clock = AnOpenClock(begin, end, offset)
    now_s, running_s, since_s = 0.0, 0.0, 0.0
    begun: list[tuple[float, int]] = []
    for step_s, what in steps:
        now_s += step_s
        paused = service.campaign.state == "paused"
        if what == "pause" and not paused:
            running_s += clock.at(now_s) - clock.at(since_s)
            service.pause(now_s)
        elif what == "resume" and paused:
            since_s = now_s
            service.resume(now_s)
        made = service.due(now_s)
        for command in made:
            if what == "take back" and isinstance(command, CancelJob):
                name = job_id("c", command.target, command.target.attempt)
                service.observe(command.target.thing, name, "CANCELED", now_s)
        if things := starts(made):
            begun.append((running_s + clock.at(now_s) - clock.at(since_s), len(things)))
    most, span_s = pacing.bound(rate)
    for first, last in itertools.combinations_with_replacement(range(len(begun)), 2):
        if begun[last][0] - begun[first][0] < span_s - 1e-3:
            assert sum(n for _, n in begun[first : last + 1]) <= most


def test_open_time_is_that_of_any_region() -> None:
    window = Window(begin=600, end=660, utc_offsets_min={"west": -120})
    plan = Plan(window=window)
    assert pacing.opened_s(plan, 0.0, DAY_S, 1e9) == 2 * HOUR_S
    assert pacing.opened_s(plan, 10.5 * HOUR_S, 12.25 * HOUR_S, 1e9) == 0.75 * HOUR_S
    assert pacing.opened_s(plan, 0.0, DAY_S, 100.0) == 100.0
    fast = Plan(window=window, clock=Clock(sim_s=9 * HOUR_S, speed=60.0))
    assert pacing.opened_s(fast, 0.0, 120.0, 1e9) == pytest.approx(60.0)


class TestZones:
    BERLIN = Window(begin=1_320, end=300, time_zone="Europe/Berlin")

    def inside(self, window: Window, utc: str, region: str = "") -> bool:
        moment = dt.datetime.fromisoformat(utc).replace(tzinfo=dt.UTC).timestamp()
        return pacing.in_window(Plan(window=window), region, moment)

    @pytest.mark.parametrize(
        ("utc", "inside"),
        [
            # 2026-03-29 01:00 UTC: 2:00 becomes 3:00. The night has an hour less.
            ("2026-03-28T20:59", False), ("2026-03-28T21:00", True), ("2026-03-29T00:59", True),
            ("2026-03-29T01:00", True), ("2026-03-29T02:59", True), ("2026-03-29T03:00", False),
            ("2026-03-29T19:59", False), ("2026-03-29T20:00", True),
            # 2026-10-25 01:00 UTC: 3:00 becomes 2:00. It has one more.
            ("2026-10-24T19:59", False), ("2026-10-24T20:00", True), ("2026-10-25T03:59", True),
            ("2026-10-25T04:00", False),
        ],
    )  # fmt: skip
    def test_a_window_over_midnight_keeps_to_daylight_saving_time(
        self, utc: str, inside: bool
    ) -> None:
        assert self.inside(self.BERLIN, utc) is inside

    def test_an_hour_that_is_left_out_is_no_window_and_one_that_comes_twice_is_two(self) -> None:
        window = Window(begin=120, end=180, time_zone="Europe/Berlin")
        plan = Plan(window=window)
        for day, hours in (("2026-03-29", 0), ("2026-03-30", 1), ("2026-10-25", 2)):
            begin = dt.datetime.fromisoformat(f"{day}T00:00Z").timestamp() - 2 * HOUR_S
            assert pacing.opened_s(plan, begin, begin + DAY_S, 1e9) == hours * HOUR_S

    def test_a_vehicle_without_a_known_region_has_the_windows_own_time(self) -> None:
        window = Window(
            begin=600, end=660, utc_offset_min=0, utc_offsets_min={"a": -60, "b": -60},
            time_zone="Asia/Kolkata", time_zones={"b": "Europe/Berlin"},
        )  # fmt: skip
        utc = {"": "04:30", "nowhere": "04:30", "a": "11:00", "b": "08:00"}
        for region, begins in utc.items():
            opens = dt.datetime.fromisoformat(f"2026-07-01T{begins}")
            assert self.inside(window, opens.isoformat(), region)
            assert not self.inside(window, (opens - dt.timedelta(minutes=1)).isoformat(), region)

    def test_only_vehicles_of_open_regions_are_started(self) -> None:
        asked = request(
            waves={"shares": [1.0]},
            window={"begin": 0, "end": 60, "utc_offset_min": 300, "utc_offsets_min": {"here": 0}},
        )
        vehicles = [Vehicle("A", region="here"), Vehicle("B"), Vehicle("C", region="there")]
        service = MemoryCampaign("c", asked, vehicles, 0.0)
        assert starts(service.due(0.0)) == ["A"]
        assert sorted(starts(service.due(19 * HOUR_S))) == ["B", "C"]

    @pytest.mark.parametrize(
        ("zones", "says"),
        [
            ({"time_zone": "Mars/Olympus"}, "window.time_zone: 'Mars/Olympus' is no time zone"),
            ({"time_zone": "../../etc/passwd"}, "window.time_zone: '../../etc/passwd' is no"),
            ({"time_zone": "Europe"}, "window.time_zone: 'Europe' is no time zone"),
            ({"time_zones": {"a": ""}}, "window.time_zones.a: '' is no time zone"),
        ],
    )
    def test_what_is_no_zone_is_refused(self, zones: dict[str, object], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            plan_of(request(window={"begin": 0, "end": 60, **zones}))
