"""A vehicle's way along a street, laid onto the stalls: shifts, doubts, and what is left out."""

import itertools
import math
import random
from typing import Any

import msgspec
import pytest
from lambda_fakes import RUN, VIN, record

from fleet_sim.contract import RegistrySpot, RuleRecord, SonarBurst, SpotRegistry
from telemetry_processor import matching, sensor, track
from telemetry_processor.samples import CELL_M, DELAY_S, Samples
from telemetry_processor.spots import SpotIndex
from telemetry_processor.track import Track

LAT, LON = 37.8044, -122.2712
M_LAT = 1 / 111_195.0
M_LON = M_LAT / math.cos(math.radians(LAT))
LENGTH_M, OFFSET_M = 6.7, 3.0
# Two blocks of stalls, with crossings, and a driveway in each.
CENTRES = [*(17.0 + LENGTH_M * k for k in range(11) if k != 4)]
CENTRES += [*(117.0 + LENGTH_M * k for k in range(11) if k != 7)]
TAKEN = {i for i in range(len(CENTRES)) if i % 3 != 1}


def place(along_m: float, right_m: float, bearing: float) -> tuple[float, float]:
    b = math.radians(bearing)
    east = along_m * math.sin(b) + right_m * math.cos(b)
    north = along_m * math.cos(b) - right_m * math.sin(b)
    return LAT + north * M_LAT, LON + east * M_LON


def street(bearing: float = 90.0) -> SpotIndex:
    """Stalls on the right of a lane through the origin."""
    spots = []
    for i, along in enumerate(CENTRES):
        lat, lon = place(along, OFFSET_M, bearing)
        spots.append(RegistrySpot(str(i), lat, lon, bearing % 360, LENGTH_M, OFFSET_M, "1st"))
    return SpotIndex(SpotRegistry("c", spots))


def cm_at(along_m: float, taken: set[int] = TAKEN) -> int:
    """What a sensor reads beside this place: cars of 4.6 m in the middle of their stalls."""
    for i in taken:
        if abs(along_m - CENTRES[i]) <= 2.3 + 0.3:
            return 120
    return 400 if int(along_m) % 12 == 0 else 0


def drive(
    *,
    error_m: tuple[float, float] = (0.0, 0.0),
    speed: float = 8.0,
    bearing: float = 90.0,
    taken: set[int] = TAKEN,
    until_m: float = 200.0,
    first_seq: int = 1,
    lost: float = 0.0,
    **fields: Any,
) -> list[RuleRecord]:
    """A message a second from the origin on; its fixes are off by (ahead, right) metres."""
    rng = random.Random(5)
    sent = []
    for k in range(1, int(until_m / speed) + 1):
        at = speed * k
        samples = [
            0 if rng.random() < lost else cm_at(at - speed * (0.075 + (19 - i) / 20), taken)
            for i in range(20)
        ]
        lat, lon = place(at + error_m[0], error_m[1], bearing)
        values: dict[str, Any] = {
            "lat": lat,
            "lon": lon,
            "speed_mps": speed,
            "heading_deg": bearing % 360,
            "odo_km": round(5 + at / 1000, 3),
            "acc_m": 6.0,
            "sonar": SonarBurst("right", 20, samples),
        }
        sent.append(record(first_seq + k - 1, **(values | fields)))
    return sent


def judged(
    index: SpotIndex,
    sent: list[RuleRecord],
    *,
    cut: int = 1_000,
    reach_m: float = matching.LAG_M,
) -> dict[str, float]:
    """Looks after these records and one that ends the street."""
    last = sent[-1]
    end = record(last.seq + 1, mode="parked", odo_km=last.odo_km)
    held, looks = Track(), {}
    everything = [*sent, end]
    for start in range(0, len(everything), cut):
        held, stretches = track.advance(held, RUN, everything[start : start + cut], index.near_cm)
        for stretch in stretches:
            for spot_id, look in matching.judge(index, VIN, stretch, reach_m=reach_m)[0]:
                assert spot_id not in looks
                looks[spot_id] = look.llr
    assert held.bursts == ()
    return looks


def wrong(looks: dict[str, float], taken: set[int] = TAKEN) -> list[str]:
    return [spot_id for spot_id, llr in looks.items() if (llr > 0) != (int(spot_id) in taken)]


class TestMatching:
    @pytest.mark.parametrize("bearing", [0.0, 90.0, 180.0, 270.0, 37.0, 312.0])
    def test_every_stall_in_every_direction(self, bearing: float) -> None:
        looks = judged(street(bearing), drive(bearing=bearing))
        assert looks.keys() == {str(i) for i in range(len(CENTRES))}
        assert wrong(looks) == []

    @pytest.mark.parametrize("error", [(8.0, 3.0), (-8.0, -3.0), (4.0, 0.0), (-5.0, 6.0)])
    def test_an_error_of_a_stall_and_more_is_found_out(self, error: tuple[float, float]) -> None:
        looks = judged(street(), drive(error_m=error))
        assert len(looks) >= len(CENTRES) - 1
        assert wrong(looks) == []

    def test_without_the_shift_the_same_drive_is_misread(self) -> None:
        assert len(wrong(judged(street(), drive(error_m=(4.0, 0.0)), reach_m=0.0))) > 3

    @pytest.mark.parametrize("speed", [5.0, 13.0])
    def test_at_other_speeds(self, speed: float) -> None:
        looks = judged(street(), drive(speed=speed, error_m=(3.0, 1.0)))
        assert len(looks) >= len(CENTRES) - 1
        assert wrong({spot_id: llr for spot_id, llr in looks.items() if abs(llr) > 1}) == []
        assert sum(abs(llr) > 1 for llr in looks.values()) > 0.8 * len(looks)

    def test_lost_echoes_cost_weight_and_not_the_car(self) -> None:
        clean, lossy = (judged(street(), drive(lost=lost)) for lost in (0.0, 0.2))
        assert wrong(lossy) == []
        assert sum(map(abs, lossy.values())) < sum(map(abs, clean.values()))

    def test_where_one_more_stall_fits_as_well_looks_weigh_less(self) -> None:
        row = SpotIndex(SpotRegistry("c", [*street().by_id.values()][4:10]))
        short = [item for item in drive() if 40 < (item.odo_km - 5) * 1000 < 75]
        vague = judged(row, short)
        sure = judged(street(), drive())
        assert vague
        both = vague.keys() & sure.keys()
        assert sum(abs(vague[k]) for k in both) < sum(abs(sure[k]) for k in both)

    @pytest.mark.parametrize("cut", [1, 2, 7])
    def test_however_the_stream_is_cut(self, cut: int) -> None:
        sent = drive(error_m=(3.0, 1.0), until_m=230.0)
        assert judged(street(), sent, cut=cut) == judged(street(), sent)

    def test_the_other_side_of_the_street_is_not_judged(self) -> None:
        assert judged(street(), drive(heading_deg=270.0)) == {}

    def test_a_sensor_that_hears_nothing_at_all_says_nothing(self) -> None:
        # The vehicle is in another lane: the kerb is out of its reach.
        deaf = SonarBurst("right", 20, [0] * 20)
        assert judged(street(), drive(sonar=deaf)) == {}
        assert wrong(judged(street(), drive(taken=set())), set()) == []

    def test_a_car_that_drives_alongside_is_not_a_row_of_parked_ones(self) -> None:
        beside = SonarBurst("right", 20, [150] * 20)
        assert judged(street(), drive(sonar=beside)) == {}


class TestTrack:
    near_cm = street().near_cm

    def advance(self, held: Track, *sent: RuleRecord) -> tuple[Track, list[track.Stretch]]:
        return track.advance(held, RUN, sent, self.near_cm)

    def test_a_turn_ends_the_street(self) -> None:
        held, ready = self.advance(Track(), *drive(until_m=80.0))
        assert (len(held.bursts), ready) == (10, [])
        turned = drive(until_m=16.0, first_seq=11, bearing=180.0, odo_km=5.085)
        held, ready = self.advance(held, *turned)
        assert [len(stretch.bursts) for stretch in ready] == [10]
        assert [burst.seq for burst in held.bursts] == [11, 12]

    @pytest.mark.parametrize(
        "fields",
        [{"mode": "parked"}, {"ts": 1_780_000_100_000}, {"odo_km": 5.2}, {"odo_km": 0.0}],
        ids=["parked", "long after", "far away", "another odometer"],
    )
    def test_what_else_ends_it(self, fields: dict[str, Any]) -> None:
        held, _ = self.advance(Track(), *drive(until_m=80.0))
        _, ready = self.advance(held, record(11, **({"odo_km": 5.088, "speed_mps": 8.0} | fields)))
        assert len(ready) == 1

    def test_standing_at_a_light_does_not(self) -> None:
        held, _ = self.advance(Track(), *drive(until_m=80.0))
        again, ready = self.advance(
            held, record(11, odo_km=5.081, speed_mps=0.2, heading_deg=200.0)
        )
        assert (again, ready) == (held, [])

    def test_a_long_street_is_judged_as_it_is_driven_and_each_place_once(self) -> None:
        _, ready = self.advance(Track(), *drive(until_m=600.0))
        assert len(ready) >= 3
        assert all(a.to_m == b.from_m for a, b in itertools.pairwise(ready))
        assert all(b.bursts[0].odo_m < b.from_m for b in ready[1:])  # laid on by what came before

    @pytest.mark.parametrize(
        "fields", [{"speed_mps": 0.9}, {"fix": 0}, {"sonar": None}], ids=["slow", "lost", "deaf"]
    )
    def test_what_cannot_be_placed_is_not_kept(self, fields: dict[str, Any]) -> None:
        held, _ = self.advance(Track(), *drive(until_m=16.0, **fields))
        assert held.bursts == ()

    def test_a_late_burst_takes_its_place(self) -> None:
        sent = drive(until_m=80.0)
        held, _ = self.advance(Track(), *sent[:4], *sent[5:])
        mended, ready = self.advance(held, sent[4])
        assert [burst.seq for burst in mended.bursts] == list(range(1, 11))
        assert ready == []

    def test_one_of_a_street_that_was_judged_is_judged_by_itself(self) -> None:
        sent = drive(until_m=80.0)
        held, _ = self.advance(
            Track(), *sent[1:], *drive(until_m=16.0, first_seq=11, bearing=180.0)
        )
        after, ready = self.advance(held, sent[0])
        assert [len(stretch.bursts) for stretch in ready] == [1]
        assert after == held

    def test_a_newer_run_forgets_the_older_ones_track(self) -> None:
        held, _ = self.advance(Track(), *drive(until_m=80.0))
        anew, ready = track.advance(held, RUN + "-b", drive(until_m=8.0), self.near_cm)
        assert (len(anew.bursts), ready) == (1, [])

    def test_an_item_stays_small(self) -> None:
        held = Track()
        for sent in drive(speed=1.2, until_m=400.0):
            held, _ = self.advance(held, sent)
            assert len(msgspec.json.encode(held)) < 5_000


class TestSensor:
    def test_more_near_samples_are_worth_more(self) -> None:
        worth = [sensor.llr_of([(near, 5, 1.0)], 8.0) for near in range(6)]
        assert worth[0] < 0 < worth[3]
        assert worth[0] == min(worth)

    def test_doubt_weighs_less_and_nothing_weighs_nothing(self) -> None:
        sure, half = (sensor.llr_of([(5, 5, w)], 8.0) for w in (1.0, 0.5))
        assert 0 < half < sure
        assert sensor.llr_of([(0, 0, 1.0)], 8.0) == 0.0

    def test_two_shifts_that_disagree_leave_little(self) -> None:
        assert abs(sensor.llr_of([(5, 5, 0.5), (0, 5, 0.5)], 8.0)) < 1.0

    def test_tables_are_distributions(self) -> None:
        for table in (*sensor.IF_TAKEN, *sensor.IF_FREE):
            assert len(table) == sensor.GRADES + 1
            assert sum(table) == pytest.approx(1.0, abs=0.005)


class TestFixError:
    """What one street tells of the next one's fixes."""

    def after(self, error_m: tuple[float, float], bearing: float = 90.0) -> track.FixError:
        ((stretch,), index) = (
            self.stretches(drive(error_m=error_m, bearing=bearing)),
            street(bearing),
        )
        _, error = matching.judge(index, VIN, stretch)
        assert error is not None
        return error

    @staticmethod
    def stretches(sent: list[RuleRecord]) -> list[track.Stretch]:
        end = record(sent[-1].seq + 1, mode="parked", odo_km=sent[-1].odo_km)
        return track.advance(Track(), RUN, [*sent, end], street().near_cm)[1]

    @pytest.mark.parametrize("bearing", [0.0, 90.0, 180.0, 312.0])
    def test_it_is_seen_along_and_across(self, bearing: float) -> None:
        error = self.after((3.0, -2.0), bearing)
        b = math.radians(bearing)
        east, north = 3 * math.sin(b) - 2 * math.cos(b), 3 * math.cos(b) + 2 * math.sin(b)
        told = 100 * matching.FIRST_STREET
        assert (error.east_cm, error.north_cm) == pytest.approx((told * east, told * north), abs=25)

    def test_streets_are_averaged(self) -> None:
        (stretch,) = self.stretches(drive(error_m=(3.0, 0.0)))
        known = track.FixError(stretch.bursts[0].ts - 1, 100, -200)
        _, error = matching.judge(street(), VIN, stretch, known)
        assert error is not None
        assert error.ts == stretch.bursts[-1].ts
        assert error.east_cm == pytest.approx(100 + matching.NEXT_STREET * (300 - 100), abs=15)
        assert error.north_cm == pytest.approx(-200 * (1 - matching.NEXT_STREET), abs=15)

    def test_it_decides_where_stalls_leave_a_doubt(self) -> None:
        # Six stalls in a row: a slip by one of them fits nearly as well.
        row = SpotIndex(SpotRegistry("c", [*street().by_id.values()][4:10]))
        sent = [item for item in drive(error_m=(3.0, 0.0)) if 40 < (item.odo_km - 5) * 1000 < 75]
        (stretch,) = self.stretches(sent)
        now, right_cm = sent[0].ts, round(300 / matching.KEPT_ERROR)
        loss = {}
        for east_cm in (-right_cm, 0, right_cm):
            looks, _ = matching.judge(row, VIN, stretch, track.FixError(now - 1, east_cm, 0))
            right = [llr if k in TAKEN else -llr for k, llr in ((int(n), o.llr) for n, o in looks)]
            loss[east_cm] = sum(math.log1p(math.exp(-llr)) for llr in right) / len(right)
        assert loss[right_cm] < 0.5 * min(loss[0], loss[-right_cm])

    def test_what_comes_late_does_not_bring_an_old_error_back(self) -> None:
        (stretch,) = self.stretches(drive())
        newer = track.FixError(stretch.bursts[-1].ts + 60_000, 100, 100)
        assert matching.judge(street(), VIN, stretch, newer)[1] == newer

    def test_it_waits_in_the_vehicles_item(self) -> None:
        error = track.FixError(1, 2, 3)
        held, _ = track.advance(Track(RUN, error=error), RUN, drive(until_m=40.0), 228)
        assert held.error == error
        assert track.advance(held, RUN + "-b", drive(until_m=40.0), 228)[0].error is None
        before = msgspec.json.decode(b'["r",-1,[]]', type=Track)  # an item of the version before
        assert before.error is None


class TestSamples:
    def samples(self, readings: list[int], speed: float = 10.0) -> Samples:
        near = sum(1 << i for i, cm in enumerate(readings) if 0 < cm <= 228)
        heard = sum(1 << i for i, cm in enumerate(readings) if cm)
        burst = track.Burst(
            1, 0, 0, 0, 0, round(speed * 100), 0, 60, 20, len(readings), near, heard
        )
        return Samples((burst,), [speed * DELAY_S + 10.0], 0.0)

    def test_a_sample_stands_for_its_share_of_the_way(self) -> None:
        # Half a metre a sample, the last one at 10 m: 0.25 m to either side of each.
        found = self.samples([0] * 12 + [120] * 4 + [400] * 4)
        assert found.grade(0, 80) == (8, 40)
        assert found.grade(round((6.25) / CELL_M), 8) == (8, 8)
        assert found.grade(round((8.25) / CELL_M), 8) == (0, 8)
        assert found.heard == pytest.approx(8 / 20)

    def test_what_was_not_passed_is_neither(self) -> None:
        found = self.samples([120] * 20)
        assert found.grade(0, 1) == (0, 0)
        assert found.grade(-8, 8 + round(0.5 / CELL_M)) == (1, 1)

    def test_all_kinds_of_runs(self) -> None:
        rng = random.Random(3)
        for _ in range(200):
            readings = [rng.choice([0, 120]) for _ in range(20)]
            found = self.samples(readings)
            assert found.near.bit_count() == 2 * sum(cm > 0 for cm in readings)
            assert (found.near | found.far).bit_count() == 40
