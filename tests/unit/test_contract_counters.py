"""Counters against what they count: changes in any order, summed, are the states themselves."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.contract import VehicleView, counters
from fleet_sim.contract.counters import Moves, spot_counts, vehicle_counts
from fleet_sim.contract.fading import as_of, held
from fleet_sim.contract.tables import AttributeMap, SpotBelief

T0 = 1_780_000_000_000
VIEW = VehicleView(
    vin="V", run="r", seq=1, applied="1", ts=1, lat=1.0, lon=2.0, speed_mps=3.0, heading_deg=4.0,
    soc=0.5, mode="driving", fw="1", arrival_ms=1.0, processed_ms=2.0, stored_ms=3.0,
)  # fmt: skip


class Table:
    def __init__(self) -> None:
        self.items: dict[tuple[str, str], AttributeMap] = {}

    def apply(self, moves: Moves, shard: str, now_ms: float) -> None:
        for slot, counts in moves.items(now_ms):
            update = counters.update_of("t", slot, shard, counts)
            key = update["Key"]["kind"]["S"], update["Key"]["at"]["S"]
            item = self.items.setdefault(key, dict(update["Key"]))
            for name, value in counts.items():
                before = float(item.get(name, {"N": "0"})["N"])
                item[name] = {"N": repr(before + value)}

    def at(self, now_ms: int) -> list[AttributeMap]:
        return [item for (_, at), item in self.items.items() if at > counters.since(now_ms)]


beliefs = st.builds(
    lambda p, usual, age_s: SpotBelief(
        "r", held("unknown", p), p, 3, T0 - age_s * 1000 + 7_000_000, 7_000_000, usual
    ),
    st.floats(0.01, 0.99),
    st.floats(0.3, 0.9),
    st.integers(0, 20_000),
)


@given(beliefs)
def test_a_call_holds_until_it_has_faded(belief: SpotBelief) -> None:
    if belief.state == "unknown":
        assert spot_counts(belief) == {}
        return
    end_ms = belief.last_seen_ms - belief.ahead_ms + counters.holds_s(belief) * 1e3
    assert as_of(belief, end_ms + 10).state == "unknown"
    if counters.holds_s(belief) > 0.1:
        assert as_of(belief, end_ms - 10).state == belief.state
    [(slot, counts)] = spot_counts(belief).items()
    assert counts == {belief.state: 1}
    assert end_ms <= slot.end_s * 1e3 + 1e-3 <= end_ms + 300_001


changes = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 400),
        st.sampled_from(["driving", "parked", "charging"]),
        st.floats(0, 1),
        st.sampled_from("ab"),
    ),
    max_size=40,
)


@given(changes, st.integers(0, 100_000))
def test_vehicles_are_counted_as_they_are(
    happened: list[tuple[int, int, str, float, str]], later_s: int
) -> None:
    table, states, now_s = Table(), {}, T0 // 1000
    for vehicle, wait_s, mode, soc, shard in happened:
        now_s += wait_s
        view = msgspec.structs.replace(VIEW, mode=mode, soc=round(soc, 4), processed_ms=now_s * 1e3)
        moves = Moves()
        before = states.get(vehicle)
        moves.add_vehicle(before, view)
        table.apply(moves, shard, now_s * 1e3)
        states[vehicle] = view
    now_s += later_s
    told = counters.summary(table.at(now_s * 1000), now_s * 1000)
    ages_s = {k: now_s - view.processed_ms / 1e3 for k, view in states.items()}
    assert sum(a < 60 for a in ages_s.values()) <= told.online
    assert told.online <= sum(a < 70 for a in ages_s.values())
    if all(a < 86_400 for a in ages_s.values()):
        known = list(states.values())
        assert told.vehicles == len(known)
        for mode in ("driving", "parked", "charging"):
            assert getattr(told, mode) == sum(view.mode == mode for view in known)
        if known:
            mean = sum(view.soc for view in known) / len(known)
            assert told.mean_soc is not None
            assert abs(told.mean_soc - mean) < 2e-3
    if later_s > 90_000:
        assert (told.vehicles, told.mean_soc) == (0, None)


@given(st.lists(st.tuples(st.integers(0, 3), beliefs), max_size=20), st.integers(0, 9_000))
def test_spots_are_counted_as_they_are_called(
    happened: list[tuple[int, SpotBelief]], later_s: int
) -> None:
    table, states = Table(), {}
    for spot, belief in happened:
        moves = Moves()
        moves.add(spot_counts(states.get(spot, SpotBelief())), spot_counts(belief))
        table.apply(moves, "a", T0)
        states[spot] = belief
    now_ms = T0 + later_s * 1000
    items = [*table.at(now_ms), counters.spots_item(9)]
    told = counters.summary(items, now_ms)
    for state in ("occupied", "free"):
        # Ends are rounded up to five minutes.
        least = sum(as_of(b, now_ms + 1_000).state == state for b in states.values())
        most = sum(as_of(b, now_ms - 301_000).state == state for b in states.values())
        assert least <= getattr(told, state) <= most
    assert told.occupied + told.free + told.unknown == told.spots == 9


def test_moves_that_cancel_out_write_nothing() -> None:
    moves = Moves()
    counts = vehicle_counts(msgspec.structs.replace(VIEW, processed_ms=float(T0)))
    moves.add(counts, counts)
    assert list(moves.items(T0)) == []
    moves.add(counts, {})
    assert list(moves.items(T0 + 2 * 86_400_000)) == []  # over: nobody reads it
    assert len(list(moves.items(T0))) == 2
