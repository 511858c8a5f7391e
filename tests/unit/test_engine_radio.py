"""What the engine tells a transport of the world's radio: stalls, cuts, returns, and figures."""

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fleet_sim.engine.radio import DETACHED_S, Radio
from fleet_sim.models.radio import Throughput
from fleet_sim.scenario import loads
from fleet_sim.world import RADIO_DOWN, RADIO_OUT, RADIO_STALLED, RADIO_UP, World

FAULTS = "faults: [{at: 1s, for: 1s, radio: {state: stalled}}]"
TEXT = """
name: x
clock: {{speed: {speed}}}
fleet: [{{group: a, count: 3}}, {{group: b, count: 1, radio: none}}]
phases: [{{name: p, duration: 60s}}]
{more}
"""


class FakeWorld:
    """Four vehicles, the last of them without a radio; the first in a gap."""

    def __init__(self, speed: float = 1.0, more: str = "") -> None:
        self.scenario = loads(TEXT.format(speed=speed, more=more))
        self.wired = np.array([False, False, False, True])
        self.radio_state = np.full(4, RADIO_UP, np.int8)

    def rtt_s(self, idx: Any) -> Any:
        return np.array([0.5, 0.1, np.inf, 0.0])[idx]

    def throughput_bps(self, idx: Any) -> Throughput:
        return Throughput(np.array([0.0, 1e6, 0.0, 1.0])[idx], np.array([0.0, 4e6, 0.0, 1.0])[idx])


class Cutting:
    """A transport that cannot stall."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.attempts = 0
        self.told: list[Any] = []

    def open(self, i: int) -> None: ...

    def publish(self, i: int, message: Any) -> None: ...

    def publish_many(self, vehicles: Any, messages: Any) -> None: ...

    def backlog(self) -> tuple[int, int]:
        return 0, 0

    def discard(self) -> list[Any]:
        return []

    def stranded(self) -> list[Any]:
        return []

    async def close(self, timeout_s: float) -> list[Any]:
        return []

    def sever(self, i: int, reason: str) -> None:
        self.told.append(("sever", i))

    def restore(self, i: int) -> None:
        self.told.append(("restore", i))

    def heard(self) -> list[Any]:
        told, self.told = self.told, []
        return told


class Stalling(Cutting):
    def stall(self, i: int) -> None:
        self.told.append(("stall", i))

    def shape(self, vehicles: Any, rtt_s: Any, uplink_bps: Any, downlink_bps: Any) -> None:
        self.told.append(("shape", *map(list, (vehicles, rtt_s, uplink_bps, downlink_bps))))


class Setup:
    def __init__(
        self, transport: Cutting | None = None, members: Any = (0, 1, 2, 3), **world: Any
    ) -> None:
        self.world = FakeWorld(**world)
        self.transport = transport or Stalling()
        self.clock = SimpleNamespace(ns=10**18)
        self.clock.now_ns = lambda: self.clock.ns
        self.radio = Radio(
            cast(World, self.world),
            np.array(members),
            cast(Any, self.transport),
            cast(Any, self.clock),
        )

    def step(self, *state: int, seconds: float = 0.1) -> list[Any]:
        self.clock.ns += round(seconds * 1e9)
        self.world.radio_state = np.array(state, np.int8)
        self.radio.follow()
        return self.transport.heard()


UP, OUT, STALLED, DOWN = RADIO_UP, RADIO_OUT, RADIO_STALLED, RADIO_DOWN


@pytest.mark.parametrize("speed", [1.0, 5.0])
def test_an_outage_stalls_and_one_that_lasts_cuts(speed: float) -> None:
    this = Setup(speed=speed)
    assert this.step(UP, OUT, UP, UP) == [("stall", 1)]
    assert this.step(UP, OUT, UP, UP, seconds=DETACHED_S / speed - 0.01) == []
    assert this.step(UP, OUT, UP, UP, seconds=0.02) == [("sever", 1)]
    assert this.step(UP, OUT, UP, UP) == []
    assert this.step(UP, UP, UP, UP) == [("restore", 1)]
    assert this.step(UP, OUT, UP, UP) == [("stall", 1)], "and its time begins anew"


def test_a_fault_cuts_at_once_or_never() -> None:
    this = Setup()
    assert this.step(DOWN, STALLED, UP, UP) == [("stall", 1), ("sever", 0)]
    assert this.step(DOWN, STALLED, UP, UP, seconds=100.0) == []
    assert this.step(DOWN, DOWN, UP, UP) == [("sever", 1)], "the worse of two"
    assert this.step(UP, UP, UP, UP) == [("restore", 0), ("restore", 1)]


def test_a_transport_that_cannot_stall_cuts() -> None:
    this = Setup(Cutting())
    this.radio.begin()
    assert this.step(OUT, UP, STALLED, UP) == [("sever", 0), ("sever", 2)]
    assert this.step(UP, UP, STALLED, UP) == [("restore", 0)]


def test_a_shard_follows_its_own_vehicles_by_their_places() -> None:
    this = Setup(members=(3, 1))
    assert this.step(OUT, OUT, UP, UP) == [("stall", 1)]
    this.radio.shape(np.array([0, 1]))
    assert this.transport.heard() == [("shape", [1], [0.1], [1e6], [4e6])]


def test_figures_are_those_that_flow_in_wall_time() -> None:
    this = Setup(speed=4.0)
    this.radio.begin()
    in_a_gap = ([0, 1], [0.125, 0.025], [0.0, 4e6], [0.0, 16e6])
    assert this.transport.heard() == [("shape", *in_a_gap)]
    this.radio.shape(np.array([2, 3]))
    assert this.transport.heard() == [("shape", [], [], [], [])], "one is away, one has none"


def test_without_radios_nothing_is_shaped_unless_a_fault_may_stall() -> None:
    for more, told in (("", []), (FAULTS, [("shape", [], [], [], [])])):
        this = Setup(members=(3,), more=more)
        this.radio.begin()
        this.radio.shape(np.array([0]))
        assert this.transport.heard() == told


def test_at_the_end_all_links_are_back() -> None:
    this = Setup()
    this.step(OUT, UP, DOWN, UP)
    this.radio.end()
    assert this.transport.heard() == [("restore", 0), ("restore", 2)]


def test_reachable_are_those_whose_link_has_been_there_for_a_while() -> None:
    this = Setup()
    this.step(OUT, UP, UP, UP, seconds=100.0)
    assert this.radio.reachable(10.0) == 3
    this.step(UP, UP, UP, UP)
    assert this.radio.reachable(10.0) == 3
    this.step(UP, UP, UP, UP, seconds=11.0)
    assert this.radio.reachable(10.0) == 4


def test_a_fault_makes_links_of_the_world_worse_and_spares_those_without_one() -> None:
    text = TEXT.format(
        speed=1,
        more="""
faults:
  - {at: 1s, for: 2s, radio: {state: down}}
  - {at: 2s, for: 2s, radio: {state: stalled}}
""",
    )
    world = World(loads(text.replace("count: 3", "count: 3, radio: none")))
    seen = []
    for _ in range(5):
        world.step(1.0)
        seen.append(set(world.radio_state.tolist()))
        assert (world.radio_up == (world.radio_state == RADIO_UP)).all()
    assert seen == [{DOWN}, {DOWN}, {STALLED}, {UP}, {UP}]
    assert world.wired.all()
