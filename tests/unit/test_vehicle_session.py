"""The session machine, without a socket: what is sent, kept, dropped and when it tries again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.vehicle import (
    TRANSITIONS,
    Backoff,
    Event,
    InvalidTransitionError,
    Message,
    Send,
    Session,
    State,
)


def message(token: int, qos: int = 1) -> Message:
    return Message(token, "t", b"x", qos)


def online(session: Session, now_s: float = 0.0, *, present: bool = False) -> list[Send]:
    session.begin()
    session.opened()
    session.accepted(now_s, session_present=present)
    resent = [session.next_send() for _ in range(session.in_flight if present else 0)]
    return [send for send in resent if send]


def make(**settings: object) -> Session:
    return Session(lambda: 1.0, **settings)  # type: ignore[arg-type]


def test_every_event_in_every_state_is_taken_or_refused_with_the_story() -> None:
    calls = {
        Event.BEGIN: lambda s: s.begin(),
        Event.OPENED: lambda s: s.opened(),
        Event.ACCEPTED: lambda s: s.accepted(0.0, session_present=False),
        Event.LOST: lambda s: s.lost(0.0),
        Event.CLOSE: lambda s: s.close(),
    }
    refused = 0
    for state in State:
        for event, call in calls.items():
            session = make()
            session.begin()
            session.state = state
            if (state, event) in TRANSITIONS:
                call(session)
                assert session.state is TRANSITIONS[state, event]
            else:
                with pytest.raises(InvalidTransitionError, match=state.value) as caught:
                    call(session)
                assert caught.value.story == ["idle --begin--> connecting"]
                refused += 1
    assert refused == len(State) * len(Event) - len(TRANSITIONS)


def test_qos_1_is_kept_until_acknowledged_and_qos_0_is_not() -> None:
    session = make()
    online(session)
    assert session.offer(message(1)) == Send(1, message(1), False)
    assert session.offer(message(2, qos=0)) == Send(0, message(2, qos=0), False)
    assert session.in_flight == 1
    assert session.acknowledged(1) == message(1)
    assert session.acknowledged(1) is None
    assert session.stray_acks == 1


def test_the_window_holds_back_and_an_acknowledgement_lets_the_next_go() -> None:
    session = make(window=2)
    online(session)
    assert isinstance(session.offer(message(1)), Send)
    assert isinstance(session.offer(message(2)), Send)
    assert session.offer(message(3)) is None
    assert session.next_send() is None
    session.acknowledged(1)
    sent = session.next_send()
    assert sent is not None
    assert sent.message.token == 3


def test_the_brokers_receive_maximum_lowers_the_window() -> None:
    session = make(window=64)
    session.begin()
    session.opened()
    session.accepted(0.0, session_present=False, receive_maximum=1)
    assert isinstance(session.offer(message(1)), Send)
    assert session.offer(message(2)) is None


def test_a_kept_session_resends_with_dup_and_the_same_ids() -> None:
    session = make()
    online(session)
    session.offer(message(1))
    session.offer(message(2))
    session.lost(1.0)
    assert session.offer(message(3)) is None
    assert online(session, 2.0, present=True) == [
        Send(1, message(1), True),
        Send(2, message(2), True),
    ]
    assert session.next_send() == Send(3, message(3), False)


def test_a_forgotten_session_sends_the_same_messages_as_new_ones_in_order() -> None:
    session = make()
    online(session)
    session.offer(message(1))
    session.offer(message(2))
    session.lost(1.0)
    session.offer(message(3))
    assert online(session, 2.0, present=False) == []
    again = [session.next_send() for _ in range(4)]
    assert [s.message.token for s in again if s] == [1, 2, 3]
    assert not any(s.duplicate for s in again if s)


def test_the_store_drops_the_oldest_and_says_which() -> None:
    session = make(store_limit=2)
    assert session.offer(message(1)) is None
    assert session.offer(message(2)) is None
    assert session.offer(message(3)) == message(1)
    assert session.close() == [message(2), message(3)]


def test_what_is_discarded_was_stored_and_what_is_in_flight_still_waits() -> None:
    session = make(window=1)
    online(session)
    session.offer(message(1))
    session.offer(message(2))
    session.offer(message(3))
    assert session.discard() == [message(2), message(3)]
    assert session.acknowledged(1) == message(1)
    assert session.next_send() is None


def test_what_is_in_flight_is_stranded_while_there_is_no_connection() -> None:
    session = make(window=1)
    online(session)
    session.offer(message(1))
    session.offer(message(2))
    assert session.stranded() == []
    session.lost(0.0)
    assert session.stranded() == [message(1)]
    online(session)
    assert session.stranded() == []


def test_a_full_socket_stores_until_it_takes_bytes_again() -> None:
    session = make()
    online(session)
    session.writable = False
    assert session.offer(message(1)) is None
    assert session.next_send() is None
    session.writable = True
    assert session.next_send() == Send(1, message(1), False)


def test_delays_double_up_to_the_cap_and_start_again_after_a_stable_connection() -> None:
    session = make(backoff=Backoff(base_s=1, cap_s=8, reset_after_s=20))
    delays = []
    for _ in range(6):
        session.begin()
        delays.append(session.lost(0.0))
    assert delays == [1, 2, 4, 8, 8, 8]
    online(session, 100.0)
    assert session.lost(119.0) == 8  # not stable for long enough
    online(session, 200.0)
    assert session.lost(220.0) == 1


@given(failures=st.integers(0, 1000), draw=st.floats(0, 1, exclude_max=True))
def test_a_jittered_delay_is_uniform_over_the_window(failures: int, draw: float) -> None:
    window = min(128.0, 2.0 ** min(failures, 64))
    assert Backoff().delay_s(failures, lambda: draw) == window * draw
    assert Backoff(jitter="none").delay_s(failures, lambda: draw) == window


@given(st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=20))
def test_a_decorrelated_delay_is_between_the_base_and_three_times_the_last(
    draws: list[float],
) -> None:
    backoff = Backoff(0.5, 8.0, jitter="decorrelated")
    draw = iter(draws)
    session = Session(lambda: next(draw), backoff=backoff)
    before = 0.5
    for value in draws:
        session.begin()
        delay = session.lost(0.0)
        assert delay == pytest.approx(min(8.0, 0.5 + (3 * before - 0.5) * value))
        assert 0.5 <= delay <= 8.0
        before = delay


def test_decorrelated_delays_start_again_after_a_long_connection() -> None:
    session = Session(lambda: 1.0, backoff=Backoff(1.0, 100.0, 20.0, "decorrelated"))
    delays = []
    for now_s in (0.0, 0.0, 30.0):
        session.begin()
        session.opened()
        session.accepted(0.0, session_present=False)
        delays.append(session.lost(now_s))
    assert delays == [3.0, 9.0, 3.0]


def test_a_closed_session_does_not_come_back() -> None:
    session = make()
    online(session)
    session.offer(message(1))
    assert session.close() == [message(1)]
    assert session.lost(1.0) is None
    with pytest.raises(InvalidTransitionError):
        session.begin()


@given(st.data())
def test_no_message_is_lost_or_doubled_whatever_happens(data: st.DataObject) -> None:
    """Every QoS 1 message offered ends exactly once: acknowledged, evicted or left at the end."""
    session = make(window=3, store_limit=4)
    wire: dict[int, int] = {}  # packet id -> token that the broker holds unacknowledged
    ended: list[int] = []
    token = 0
    for _ in range(data.draw(st.integers(0, 60))):
        choice = data.draw(st.sampled_from(["offer", "ack", "lose", "connect", "pump"]))
        if choice == "offer":
            token += 1
            result = session.offer(message(token))
            if isinstance(result, Send):
                wire[result.packet_id] = result.message.token
            elif result is not None:
                ended.append(result.token)
        elif choice == "ack" and wire and session.state is State.ONLINE:
            packet_id = data.draw(st.sampled_from(sorted(wire)))
            acked = session.acknowledged(packet_id)
            assert acked is not None
            assert acked.token == wire.pop(packet_id)
            ended.append(acked.token)
        elif choice == "lose" and session.state is State.ONLINE:
            session.lost(0.0)
        elif choice == "connect" and session.state in (State.IDLE, State.WAITING):
            present = data.draw(st.booleans())
            resent = online(session, present=present)
            assert [s.message.token for s in resent] == (list(wire.values()) if present else [])
            if not present:
                wire.clear()
        elif choice == "pump":
            while (send := session.next_send()) is not None:
                wire[send.packet_id] = send.message.token
        assert session.in_flight <= 3
        assert session.stored <= 4 + 3  # a forgotten session puts its window back in front
    ended += [m.token for m in session.close()]
    assert sorted(ended) == list(range(1, token + 1))
