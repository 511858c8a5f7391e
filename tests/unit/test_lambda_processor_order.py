"""However the stream is cut, repeated or disordered, and wherever the processor crashes: the same
vehicles and spots."""

import itertools
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lambda_fakes import (
    SONAR_CAR,
    SONAR_NONE,
    VIN,
    FakeDynamoDb,
    incoming,
    record,
)
from processor_cloud import SECOND_VIN, Cloud, parked, running

from fleet_sim.contract import (
    VehicleView,
)
from fleet_sim.contract.tables import Observation


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with running(monkeypatch) as cloud:
        yield cloud


def street(seq: int, vin: str, car: bool, heading_deg: float) -> Any:
    """A message of a drive along the stalls' lane, or across it."""
    return record(
        seq,
        vin=vin,
        lon=-122.27 + (10.0 * seq - 40.0) / 87_862,
        heading_deg=heading_deg,
        sonar=SONAR_CAR if car else SONAR_NONE,
    )


Final: TypeAlias = tuple[dict[str, VehicleView], Any, Any]


def final(cloud: Cloud, order: list[Any], sizes: Iterator[int], restart: bool) -> Final:
    """Vehicles, tracks and spots after these messages in batches of these sizes."""
    cloud.dynamodb = FakeDynamoDb(vehicles="vin", spots="id", counters="")
    cloud.start()
    left = [incoming(item, 100 + i) for i, item in enumerate(order)]
    while left:
        size = next(sizes)
        assert cloud.pipeline.process(left[:size]).failed == {}
        left = left[size:]
        if restart:
            cloud.start()
    held = cloud.dynamodb.tables["vehicles"]
    views = {
        vin: msgspec.structs.replace(
            cloud.view(vin), arrival_ms=0.0, processed_ms=0.0, stored_ms=0.0
        )
        for vin in held
    }
    spots = cloud.dynamodb.tables["spots"]
    # How the clocks are to each other is known the better the more was received.
    beliefs = {name: msgspec.structs.replace(cloud.belief(name), ahead_ms=0) for name in spots}
    recent = {name: item["recent"] for name, item in spots.items()}
    return views, {vin: held[vin]["track"] for vin in held}, beliefs, recent


DRIVES = st.lists(
    st.tuples(
        st.sampled_from([VIN, SECOND_VIN]),
        st.integers(1, 8),
        st.sampled_from([True, False]),
        st.sampled_from([90.0, 90.0, 90.0, 180.0]),
    ),
    min_size=1,
    max_size=16,
    unique_by=lambda item: item[:2],
)
HOW = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@HOW
@given(DRIVES, st.randoms(use_true_random=False), st.lists(st.integers(1, 6), min_size=1))
def test_any_cut_any_restart_and_any_repetition_end_the_same(cloud, messages, random, cuts) -> None:  # type: ignore[no-untyped-def]
    messages = sorted(messages, key=lambda item: item[1])
    sent = [street(seq, vin, car, heading) for vin, seq, car, heading in messages]
    once = final(cloud, sent, itertools.repeat(1), restart=False)
    repeated = list(sent)
    for item in random.choices(sent, k=4):
        # The stream repeats what it has carried already.
        repeated.insert(random.randint(repeated.index(item) + 1, len(repeated)), item)
    assert final(cloud, repeated, itertools.cycle(cuts), restart=True) == once


@HOW
@given(DRIVES, st.randoms(use_true_random=False), st.lists(st.integers(1, 6), min_size=1))
def test_disorder_changes_no_vehicle_and_doubles_no_look(cloud, messages, random, cuts) -> None:  # type: ignore[no-untyped-def]
    sent = [street(seq, vin, car, heading) for vin, seq, car, heading in messages]
    shuffled = sent + [random.choice(sent) for _ in range(4)]
    random.shuffle(shuffled)
    views, _, _, recent = final(cloud, shuffled, itertools.cycle(cuts), restart=True)
    inorder = sorted(sent, key=lambda item: item.seq)
    assert views == final(cloud, inorder, itertools.repeat(1), restart=False)[0]
    for text in recent.values():
        looks = msgspec.json.decode(text["S"], type=list[Observation])
        assert len({(look.vin, look.seq) for look in looks}) == len(looks)


def test_a_crash_between_spots_and_vehicles_doubles_no_look(cloud: Cloud) -> None:
    batch = [incoming(record(1, sonar=SONAR_CAR), 101), incoming(parked(2), 102)]
    writes = itertools.count()

    def crash_at_the_vehicle() -> None:
        if next(writes):
            raise RuntimeError("out of memory")

    cloud.dynamodb.before_write = crash_at_the_vehicle
    with pytest.raises(RuntimeError, match="out of memory"):
        cloud.invoke(*batch)
    assert cloud.belief("s0").observations == 1
    assert cloud.dynamodb.tables["vehicles"] == {}
    cloud.dynamodb.before_write = lambda: None
    cloud.start()
    assert cloud.invoke(batch[0]) == []  # another cut than before
    assert cloud.invoke(batch[1]) == []
    assert cloud.belief("s0").observations == 1
    assert cloud.view().applied == "1-2"
