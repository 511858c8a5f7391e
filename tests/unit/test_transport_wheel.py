from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.transport.wheel import TimerWheel


def test_a_timer_fires_once_and_never_early() -> None:
    wheel: TimerWheel[str] = TimerWheel(0.0, slot_s=0.1, slots=8)
    wheel.set("a", 0.25)
    assert wheel.advance(0.2) == []
    assert "a" in wheel
    assert wheel.advance(0.31) == ["a"]
    assert wheel.advance(99.0) == []


def test_setting_again_moves_and_cancel_forgets() -> None:
    wheel: TimerWheel[str] = TimerWheel(0.0, slot_s=0.1, slots=8)
    wheel.set("a", 0.2)
    wheel.set("a", 0.5)
    wheel.set("b", 0.2)
    wheel.cancel("b")
    wheel.cancel("never set")
    assert wheel.advance(0.4) == []
    assert wheel.advance(0.5) == ["a"]
    assert len(wheel) == 0


def test_a_time_in_the_past_fires_at_the_next_turn_of_the_wheel() -> None:
    wheel: TimerWheel[str] = TimerWheel(10.0, slot_s=0.1, slots=8)
    wheel.set("a", 1.0)
    assert wheel.advance(10.11) == ["a"]


@given(
    st.lists(st.floats(0, 50, allow_nan=False), max_size=40),
    st.lists(st.floats(0, 50, allow_nan=False), max_size=40),
)
def test_all_timers_fire_at_or_after_their_time_and_within_a_slot_of_the_sweep(
    at: list[float], sweeps: list[float]
) -> None:
    wheel: TimerWheel[int] = TimerWheel(0.0, slot_s=0.1, slots=16)
    for key, when in enumerate(at):
        wheel.set(key, when)
    fired: dict[int, float] = {}
    for now in [*sorted(sweeps), 60.0]:
        for key in wheel.advance(now):
            assert key not in fired
            fired[key] = now
            assert now >= at[key]
        # Whatever is more than two slots overdue has fired.
        assert all(key in fired for key, when in enumerate(at) if when + 0.2 < now)
    assert len(fired) == len(at)
