"""From sonar bursts to beliefs: geometry, sensor model, and the fold's indifference to order."""

import itertools
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lambda_fakes import record

from fleet_sim.contract import RegistrySpot, RuleRecord, SonarBurst, SpotRegistry
from fleet_sim.contract.tables import Observation
from telemetry_processor import spots
from telemetry_processor.spots import SpotIndex, SpotState

LAT, LON = 37.8044, -122.2712
M_LAT = 1 / 111_195.0
M_LON = M_LAT / math.cos(math.radians(LAT))
NORTH_EAST_SOUTH_WEST = (0.0, 90.0, 180.0, 270.0)


def stall(
    spot_id: str, along_m: float, bearing: float = 90.0, offset_m: float = 3.5
) -> RegistrySpot:
    """A stall beside a lane through the origin with this bearing, `along_m` ahead."""
    b = math.radians(bearing)
    east = along_m * math.sin(b) + offset_m * math.cos(b)
    north = along_m * math.cos(b) - offset_m * math.sin(b)
    return RegistrySpot(
        spot_id, LAT + north * M_LAT, LON + east * M_LON, bearing, 5.5, offset_m, "1st Street"
    )


def passing(
    at_m: float, ranges: list[int], bearing: float = 90.0, across_m: float = 0.0, **fields: object
) -> RuleRecord:
    """A vehicle on that lane, `at_m` ahead of the origin, at 10 m/s with 20 samples a second."""
    b = math.radians(bearing)
    east = at_m * math.sin(b) + across_m * math.cos(b)
    north = at_m * math.cos(b) - across_m * math.sin(b)
    values: dict[str, object] = {
        "lat": LAT + north * M_LAT,
        "lon": LON + east * M_LON,
        "heading_deg": bearing,
        "speed_mps": 10.0,
        "sonar": SonarBurst("right", 20, ranges),
    }
    return record(1, **(values | fields))


def lone(spot: RegistrySpot) -> SpotIndex:
    """This stall in the middle of its grid cell: what is near it is always a candidate."""
    far = msgspec.structs.replace(
        spot,
        id="far",
        lat=spot.lat + 32 * M_LAT,
        lon=spot.lon + 32 * M_LON,
        bearing_deg=(spot.bearing_deg + 180) % 360,
    )
    return SpotIndex(SpotRegistry("c", [spot, far]))


def seen(index: SpotIndex, sent: RuleRecord) -> dict[str, float]:
    return {spot_id: look.llr for spot_id, look in spots.observe(index, sent)}


@pytest.fixture(scope="module")
def row() -> SpotIndex:
    """Four stalls end to end, centres at 3, 9, 15 and 21 m."""
    return SpotIndex(SpotRegistry("c", [stall(f"s{i}", 3.0 + 6 * i) for i in range(4)]))


class TestObserve:
    def test_cars_and_gaps_where_they_are(self, row: SpotIndex) -> None:
        # 20 samples 0.5 m apart end at 11 m: they began at 1.5 m. Echoes up to 5.5 m: stall s0.
        looks = seen(row, passing(11.0, [170] * 9 + [0] * 11))
        assert looks.keys() == {"s0", "s1"}
        assert looks["s0"] > 0 > looks["s1"]

    @pytest.mark.parametrize("bearing", [*NORTH_EAST_SOUTH_WEST, 37.0, 312.0])
    def test_in_every_direction(self, bearing: float) -> None:
        index = SpotIndex(SpotRegistry("c", [stall("x", 5.0, bearing), stall("y", -60.0, bearing)]))
        assert seen(index, passing(9.0, [170] * 20, bearing)).keys() == {"x"}

    def test_the_other_side_of_the_street_is_not_seen(self, row: SpotIndex) -> None:
        assert seen(row, passing(11.0, [170] * 20, heading_deg=270.0)) == {}
        left = SonarBurst("left", 20, [170] * 20)
        assert seen(row, passing(11.0, [], sonar=left)) == {}

    @pytest.mark.parametrize(("turned", "sees"), [(25.0, True), (35.0, False)])
    def test_the_bearing_must_agree(self, turned: float, sees: bool) -> None:
        index = lone(stall("x", 0.0))
        looks = seen(index, passing(4.0, [170] * 20, heading_deg=90.0 + turned))
        assert bool(looks) == sees

    def test_half_a_stall_must_be_covered(self) -> None:
        index = lone(stall("x", 0.0))
        # The burst's first sample is 9.5 m behind; the stall reaches from -2.75 to 2.75.
        assert seen(index, passing(0.5, [0] * 20)).keys() == {"x"}
        assert seen(index, passing(-0.5, [0] * 20)) == {}

    @pytest.mark.parametrize(
        ("across_m", "acc_m", "sees"), [(3.0, 0.0, True), (6.0, 0.0, False), (6.0, 5.0, True)]
    )
    def test_the_receivers_error_widens_the_search(
        self, across_m: float, acc_m: float, sees: bool
    ) -> None:
        index = lone(stall("x", 0.0))
        assert bool(seen(index, passing(5.0, [0] * 20, across_m=across_m, acc_m=acc_m))) == sees

    @pytest.mark.parametrize(
        ("distance", "car"), [(30, True), (299, True), (320, False), (500, False), (0, False)]
    )
    def test_only_a_near_echo_is_a_car(self, distance: int, car: bool) -> None:
        index = SpotIndex(SpotRegistry("c", [stall("x", 0.0, offset_m=3.5)]))
        assert (seen(index, passing(5.0, [distance] * 20))["x"] > 0) == car

    @pytest.mark.parametrize(
        "fields", [{"speed_mps": 0.9}, {"fix": 0}, {"sonar": None}], ids=["slow", "lost", "deaf"]
    )
    def test_what_cannot_be_placed_is_not_used(
        self, row: SpotIndex, fields: dict[str, object]
    ) -> None:
        assert seen(row, passing(11.0, [170] * 20, **fields)) == {}

    def test_a_vague_position_weighs_less(self, row: SpotIndex) -> None:
        weights = [
            seen(row, passing(11.0, [170] * 20, acc_m=acc_m))["s0"] for acc_m in (0, 2, 5, 20)
        ]
        assert weights[0] == pytest.approx(math.log(0.88 / 0.12), abs=1e-3)
        assert weights == sorted(weights, reverse=True)
        assert weights[-1] > 0

    def test_a_burst_faster_than_its_stalls_says_nothing(self) -> None:
        index = SpotIndex(SpotRegistry("c", [stall("x", -50.0)]))
        # Samples 100 m apart: none falls into the stall's core.
        sparse = SonarBurst("right", 1, [170, 170])
        assert seen(index, passing(0.0, [], speed_mps=100.0, sonar=sparse)) == {}


def look(ts: int, llr: float = 2.0, vin: str = "V", seq: int | None = None) -> Observation:
    return Observation(ts, vin, ts if seq is None else seq, llr)


def merged(state: SpotState, *looks: Observation, run: str = "r") -> SpotState:
    return spots.merge(state, ((run, item) for item in looks)) or state


EMPTY = SpotState("r", ())


class TestBelief:
    def test_nothing_seen_is_unknown(self) -> None:
        belief = spots.belief(EMPTY)
        assert (belief.state, belief.p_occupied, belief.observations) == ("unknown", 0.5, 0)

    def test_one_look_decides_and_two_are_surer(self) -> None:
        one = spots.belief(merged(EMPTY, look(1)))
        two = spots.belief(merged(EMPTY, look(1), look(2)))
        assert one.state == two.state == "occupied"
        assert two.p_occupied > one.p_occupied > 0.85
        assert two.last_seen_ms == 2

    def test_contrary_looks_turn_a_confirmed_belief(self) -> None:
        state = merged(EMPTY, *(look(ts) for ts in range(1, 9)))
        assert spots.belief(state).p_occupied < 0.995  # bounded, or it could not be turned
        turned = merged(state, *(look(ts, -2.0) for ts in range(9, 13)))
        assert spots.belief(turned).state == "free"

    def test_hysteresis_holds_a_state_through_a_weak_contradiction(self) -> None:
        state = merged(EMPTY, look(1, 2.0), look(2, -1.5))
        assert spots.belief(state).state == "occupied"  # p = 0.62: above 0.6, below 0.7
        assert (
            spots.belief(merged(EMPTY, look(1, 0.5))).state == "unknown"
        )  # the same p, from below

    def test_old_looks_fade(self) -> None:
        hour = 3_600_000
        faded = spots.belief(merged(EMPTY, look(1, 2.0), look(1 + hour, -0.5)))
        fresh = spots.belief(merged(EMPTY, look(1, 2.0), look(2, -0.5)))
        assert faded.p_occupied < 0.5 < fresh.p_occupied
        assert 2.0 * math.exp(-hour / spots.DECAY_MS) - 0.5 == pytest.approx(
            math.log(faded.p_occupied / (1 - faded.p_occupied)), abs=1e-3
        )

    def test_a_repeated_look_changes_nothing(self) -> None:
        state = merged(EMPTY, look(1), look(2))
        assert spots.merge(state, [("r", look(2)), ("r", look(1))]) is None

    def test_a_newer_run_begins_anew_and_an_older_one_is_ignored(self) -> None:
        state = merged(EMPTY, look(1), look(2), run="run-b")
        assert spots.merge(state, [("run-a", look(3))]) is None
        anew = merged(state, look(1, -2.0), run="run-c")
        assert anew == SpotState("run-c", (look(1, -2.0),))

    @settings(deadline=None)
    @given(
        st.lists(
            st.builds(
                look,
                st.integers(0, 40).map(lambda n: n * 10_000),
                st.sampled_from([-1.992, 1.992, 0.4]),
                st.sampled_from(["A", "B"]),
            ),
            min_size=1,
            max_size=30,
            unique_by=lambda item: (item.vin, item.seq),
        ),
        st.randoms(use_true_random=False),
        st.lists(st.integers(1, 5), min_size=1),
    )
    def test_any_order_and_any_cut_end_the_same(self, looks, random, cuts) -> None:  # type: ignore[no-untyped-def]
        once = merged(EMPTY, *looks)
        state = EMPTY
        left = looks + [random.choice(looks) for _ in range(5)]
        random.shuffle(left)
        for size in itertools.cycle(cuts):
            batch, left = left[:size], left[size:]
            state = merged(state, *batch)
            if not left:
                break
        assert state == once
        assert spots.belief(state) == spots.belief(once)
        assert len(state.recent) == min(len(looks), spots.RECENT)
