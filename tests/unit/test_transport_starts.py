import pytest

from fleet_sim.transport import LinkSettings
from fleet_sim.transport.starts import Starts, sessions_of
from fleet_sim.vehicle import Session


class Setup:
    """Starts of `n` vehicles whose attempts are under way until a test ends them."""

    def __init__(self, n: int, **settings: float) -> None:
        link = LinkSettings("h", 1, **{"connect_rate": 100.0, **settings})  # type: ignore[arg-type]
        self.sessions: list[Session] = sessions_of(link, n, lambda: 0.5)
        self.under_way: list[int] = []
        self.busy: set[int] = set()
        self.starts = Starts(
            link,
            self.sessions,
            self.under_way.append,
            self.under_way.__len__,
            self.busy.__contains__,
        )

    def returns(self, *vehicles: int) -> None:
        """They have been connected before."""
        for i in vehicles:
            self.sessions[i].fresh = False


def test_new_vehicles_begin_at_the_rate_however_long_nobody_looked() -> None:
    setup = Setup(100)
    for i in range(100):
        setup.starts.open(i)
        setup.starts.open(i)  # twice is once
    setup.starts.pass_time(0.05)
    assert setup.under_way == [0, 1, 2, 3, 4]
    for _ in range(3):
        setup.starts.pass_time(0.05)
    assert setup.under_way == list(range(20))


def test_a_rate_of_less_than_one_a_look_is_kept() -> None:
    setup = Setup(10, connect_rate=5.0)
    for i in range(10):
        setup.starts.open(i)
    for _ in range(20):
        setup.starts.pass_time(0.05)
    assert setup.under_way == [0, 1, 2, 3, 4]


def test_those_that_come_back_do_not_wait_for_the_rate_nor_use_it_up() -> None:
    setup = Setup(8, connect_rate=20.0)
    setup.returns(2, 3, 4, 5, 6, 7)
    for i in range(8):
        setup.starts.open(i)
    setup.starts.pass_time(0.05)
    assert setup.under_way == [2, 3, 4, 5, 6, 7, 0]


def test_no_more_are_under_way_than_may_be() -> None:
    setup = Setup(5, connect_concurrency=2, connect_rate=1_000.0)
    for i in range(5):
        setup.starts.open(i)
    setup.starts.pass_time(1.0)
    assert setup.under_way == [0, 1]
    setup.under_way.remove(0)
    setup.starts.begin_due()
    assert setup.under_way == [1, 2]


def test_a_vehicle_without_radio_begins_when_it_is_back() -> None:
    setup = Setup(3)
    setup.starts.open(0)
    setup.starts.hold(0)
    setup.starts.hold(1)
    setup.starts.open(1)
    setup.starts.pass_time(0.05)
    assert setup.under_way == []
    assert setup.starts.held(0)
    setup.starts.let_go(0, idle=True)
    setup.starts.let_go(1, idle=False)  # its backoff still runs
    setup.starts.let_go(2, idle=True)  # nobody wants it
    setup.starts.pass_time(0.05)
    assert setup.under_way == [0]


@pytest.mark.parametrize("back", [False, True])
def test_an_attempt_that_has_yet_to_end_is_waited_for(back: bool) -> None:
    setup = Setup(2)
    if back:
        setup.returns(0, 1)
    setup.busy.add(0)
    setup.starts.open(0)
    setup.starts.open(1)
    setup.starts.pass_time(0.05)
    assert setup.under_way in ([], [1])
    setup.busy.clear()
    setup.starts.pass_time(0.05)
    assert sorted(setup.under_way) == [0, 1]
