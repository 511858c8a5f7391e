"""How right the cloud's parking map is, without a cloud: `fleet-sim bench parking`.

World → telemetry as vehicles encode it → the processor's own logic → beliefs, against the truth.
The processor is loaded as the local AWS loads it, from the folder that is deployed: the simulator
imports nothing of it.
"""

import importlib
import math
import sys
from collections import defaultdict
from typing import Any, NamedTuple

import msgspec
import numpy as np

from fleet_sim.contract import RuleRecord, SpotRegistry, Telemetry
from fleet_sim.contract.fading import as_of
from fleet_sim.contract.tables import RELAX_S, USUAL
from fleet_sim.engine.encoding import encoder
from fleet_sim.engine.outbox import Composer
from fleet_sim.measure.accuracy import FREE, OCCUPIED, UNKNOWN, Comparison, MapScore
from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array
from fleet_sim.models.gnss import STREET
from fleet_sim.resources import data_dir
from fleet_sim.scenario import Scenario, loads
from fleet_sim.world import World

FLOW_PER_H = 120
"""Cars that pass a kerb on a quiet street (assumption), as in the models' checks of a map."""
BUSY_FLOW_PER_H = 480
"""And on a busy one, where parking is scarce (assumption): 9,700 cars a day, of which 9 % drive in
the busiest hour and 55 % of these in one direction."""
LOOK_EVERY_S = 300
GENERATED = "generated"
_MEAN_SPEED = 0.85
"""Of the limit, with what crossings cost: sizes the fleet, judges nothing."""
_CODES = {"free": FREE, "occupied": OCCUPIED, "unknown": UNKNOWN}
MAP, PERFECT, UNMATCHED = "map", "perfect looks", "no matching"
FIXES = "each fix by itself"
NO_DECAY, LAST, MEAN = "no decay", "last look", "mean of looks"


class Cloud(NamedTuple):
    """The processor's modules."""

    logic: Any
    matching: Any
    pipeline: Any
    spots: Any
    track: Any

    @classmethod
    def load(cls) -> "Cloud":
        folder = str(data_dir("lambdas"))
        if folder not in sys.path:
            sys.path.append(folder)
        return cls(
            *(importlib.import_module(f"telemetry_processor.{name}") for name in cls._fields)
        )


class Case(msgspec.Struct, frozen=True):
    """What is driven: all streets have reception class street and this limit."""

    city: str = GENERATED
    """`generated`, or the file of an OpenStreetMap extract."""
    penetration: float = 0.06
    """Share of `FLOW_PER_H` that the fleet is meant to be, 0-1."""
    speed_kmh: float = 30.0
    occupancy: float = 0.65
    hours: float = 1.0
    """Compared every five minutes, after the warm-up."""
    warm_up_h: float = 1.0
    seed: int = 11
    """Not one of those that the processor's sensor model was calibrated with."""


class Result(msgspec.Struct, frozen=True):
    case: Case
    vehicles: int
    stalls: int
    passes_per_h: float
    """Of the fleet, of a kerb that has stalls, as they were."""
    bursts_kmh: float
    """Mean speed of the vehicles while their sensors were on."""
    taken: float
    """Share of stalls at the end."""
    median_age_s: float
    """Of the newest look at a stall, over the stalls that were ever looked at."""
    late_age_s: float
    """A tenth of them are older than that."""
    at_pass: "AtPass"
    scores: dict[str, MapScore]


class AtPass(msgspec.Struct, frozen=True):
    """What the map says of stalls when one was just passed, against the truth of that moment:
    what drive-by sensing is usually judged by."""

    counts: float
    """`1 - Σ |estimated - true| / Σ true` of whole cars beside a stretch, about a block."""
    occupancy: float
    """Share of stalls that are as `p_occupied > 0.5` says."""
    missed: float
    """Share of taken stalls that are called free by the look alone, with the usual occupancy."""
    false: float
    """Share of free stalls that are called taken so."""


class _Passes:
    """Sums what `AtPass` divides."""

    def __init__(self) -> None:
        self._miscount = self._right = self._all = 0
        self._wrong, self._of = [0, 0], [0, 0]

    def add(self, truth: list[bool], p: list[float], llr: list[float]) -> None:
        """The stalls that a stretch looked at: truth, beliefs after it, and its looks."""
        self._miscount += abs(round(sum(p)) - sum(truth))
        usual = math.log(USUAL / (1 - USUAL))
        for taken, belief, look in zip(truth, p, llr, strict=True):
            self._all += 1
            self._right += (belief > 0.5) == taken
            self._of[taken] += 1
            self._wrong[taken] += (look + usual > 0) != taken

    def judged(self) -> AtPass:
        return AtPass(
            counts=1 - self._miscount / max(self._of[True], 1),
            occupancy=self._right / max(self._all, 1),
            missed=self._wrong[True] / max(self._of[True], 1),
            false=self._wrong[False] / max(self._of[False], 1),
        )


class _Memory:
    """What a spots table would hold."""

    def __init__(self, cloud: Cloud) -> None:
        self._spots = cloud.spots
        self.states: dict[str, Any] = {}
        self.looks: dict[str, list[Any]] = defaultdict(list)

    def add(self, run: str, spot_id: str, look: Any) -> None:
        state = self.states.get(spot_id) or self._spots.SpotState(run, ())
        merged = self._spots.merge(state, [(run, look)])
        if merged is not None:
            self.states[spot_id] = merged
            self.looks[spot_id].append(look)

    def told(
        self, registry: SpotRegistry, now_ms: float, relax_s: float = RELAX_S
    ) -> tuple[FloatArray, Int8Array]:
        """Beliefs as they are served at `now_ms`, [spots]: `p_occupied` and the states."""
        n, usual = len(registry.spots), USUAL
        p, state = np.full(n, usual), np.full(n, UNKNOWN, np.int8)
        for k, spot in enumerate(registry.spots):
            held = self.states.get(spot.id)
            if held is not None:
                belief = as_of(self._spots.belief(held, relax_s=relax_s), now_ms)
                p[k] = belief.p_occupied
                state[k] = _CODES[belief.state]
        return p, state


class _Run:
    """One case as it is driven."""

    def __init__(self, case: Case, *, ablate: bool) -> None:
        self.cloud = Cloud.load()
        self.case, self.ablate = case, ablate
        self.scenario, self.world = fleet_of(case)
        self.registry = self.world.city.to_registry()
        self.index = self.cloud.spots.SpotIndex(self.registry)
        self.number = {spot.id: k for k, spot in enumerate(self.registry.spots)}
        names = (MAP, PERFECT, *((UNMATCHED, FIXES) if ablate else ()))
        self.memory = {name: _Memory(self.cloud) for name in names}
        more = (NO_DECAY, LAST, MEAN) if ablate else ()
        segment = self.world.city.stalls.edge
        self.compared = {name: Comparison(segment) for name in (*names, *more)}
        self.ages: list[float] = []
        self.passes = _Passes()
        self._start_ms = self.scenario.clock.start.timestamp() * 1000
        self._tracks: dict[str, Any] = {}

    def take(self, record: RuleRecord) -> None:
        """One record through track and matching."""
        track, matching = self.cloud.track, self.cloud.matching
        held = self._tracks.get(record.vin) or track.Track()
        held, stretches = track.advance(held, record.run, [record], self.index.near_cm)
        error = held.error
        for stretch in stretches:
            looks, error = matching.judge(self.index, record.vin, stretch, error)
            self._remember(record.run, looks)
            if self.ablate:
                self._place(UNMATCHED, record, stretch)
                for burst in stretch.bursts:
                    self._place(FIXES, record, stretch._replace(bursts=(burst,)))
        self._tracks[record.vin] = msgspec.structs.replace(held, error=error)

    def _remember(self, run: str, looks: list[tuple[str, Any]]) -> None:
        if not looks:
            return
        # The street took half a minute: the truth of its middle.
        at_s = (looks[len(looks) // 2][1].ts - self._start_ms) / 1000
        occupied = self.world.truth.occupied_at(at_s)
        truth = [bool(occupied[self.number[spot_id]]) for spot_id, _ in looks]
        beliefs = []
        for (spot_id, look), taken in zip(looks, truth, strict=True):
            self.memory[MAP].add(run, spot_id, look)
            sure = msgspec.structs.replace(look, llr=6.0 if taken else -6.0)
            self.memory[PERFECT].add(run, spot_id, sure)
            beliefs.append(self.cloud.spots.belief(self.memory[MAP].states[spot_id]).p_occupied)
        self.passes.add(truth, beliefs, [look.llr for _, look in looks])

    def _place(self, name: str, record: RuleRecord, stretch: Any) -> None:
        """Looks of a stretch where its fixes put it, into that memory."""
        judge = self.cloud.matching.judge
        for spot_id, look in judge(self.index, record.vin, stretch, reach_m=0.0)[0]:
            self.memory[name].add(record.run, spot_id, look)

    def compare(self, now_ms: float) -> None:
        truth = self.world.occupied.copy()
        for name, memory in self.memory.items():
            self.compared[name].add(*memory.told(self.registry, now_ms), truth)
        looks = self.memory[MAP].looks
        self.ages += [(now_ms - seen[-1].ts) / 1000 for seen in looks.values()]
        if self.ablate:
            never = self.memory[MAP].told(self.registry, now_ms, 1e12)
            self.compared[NO_DECAY].add(*never, truth)
            last, mean = (np.full(truth.size, USUAL) for _ in range(2))
            for spot_id, seen in looks.items():
                taken = [look.llr > 0 for look in seen]
                last[self.number[spot_id]] = taken[-1]
                mean[self.number[spot_id]] = np.mean(taken)
            for name, p in ((LAST, last), (MEAN, mean)):
                self.compared[name].add(p, _called(p), truth)


def _called(p: FloatArray) -> Int8Array:
    return np.where(p > 0.5, OCCUPIED, FREE).astype(np.int8)


def scenario_of(case: Case, vehicles: int) -> Scenario:
    where = "generate: {blocks: [8, 8], centre: 0%, tunnel: false}"
    if case.city != GENERATED:
        where = f"osm: {case.city}"
    return loads(
        f"name: parking\nseed: {case.seed}\ncity: {{{where}}}\n"
        f"fleet: [{{group: cars, count: {vehicles}, parked: 5%, radio: none, "
        f"max_speed: {case.speed_kmh:g}km/h, telemetry: {{period: 1s}}}}]\n"
        f"phases: [{{name: all, duration: 24h, parking: {{occupancy: {case.occupancy:.0%}}}}}]\n",
        name="bench parking",
    )


def fleet_of(case: Case) -> tuple[Scenario, World]:
    """The case's city, with as many vehicles as its penetration means."""
    roads = World(scenario_of(case, 1)).city.roads
    share = case.penetration * FLOW_PER_H / (_MEAN_SPEED * case.speed_kmh)
    scenario = scenario_of(case, max(1, round(share * roads.length.sum() / 1000)))
    world = World(scenario)
    world.city.roads.reception[:] = STREET
    world.city.roads.limit_mps[:] = case.speed_kmh / 3.6
    return scenario, world


def records(scenario: Scenario, world: World, first: int, count: int) -> Any:
    """`count` seconds of all vehicles' records from second `first` on, a list a second."""
    everyone = np.arange(world.n)
    firmware = dict.fromkeys(world.vins, "1.0.0")
    encode = encoder(scenario.fleet[0].telemetry.encoding, "bench", firmware)
    compose = Composer(scenario, world, everyone, encode)
    decode = msgspec.json.Decoder(Telemetry).decode
    for second in range(first, first + count):
        world.step(1.0)
        yield [_ruled(decode(data)) for data in compose.compose(everyone, [second] * world.n)]


def _ruled(message: Telemetry) -> RuleRecord:
    """As IoT Core's rule hands it on."""
    values = {name: getattr(message, name) for name in message.__struct_fields__}
    return RuleRecord(**values, thing=message.vin, iot_ms=message.ts)


def drive(case: Case, *, ablate: bool = False) -> Result:
    """Drive one case; `ablate` also scores the map without each of its parts."""
    run = _Run(case, ablate=ablate)
    world, roads = run.world, run.world.city.roads
    kerbs = np.unique(world.city.stalls.edge)
    beside: BoolArray = np.zeros(roads.n_edges, dtype=np.bool_)
    beside[kerbs] = True
    driven_m = 0.0
    speeds: list[float] = []
    before = world.fleet.odo.copy()
    warm_up_s = round(case.warm_up_h * 3600)
    seconds = warm_up_s + round(case.hours * 3600)
    for second, sent in enumerate(records(run.scenario, world, 1, seconds), start=1):
        for record in sent:
            run.take(record)
            if record.sonar is not None:
                speeds.append(record.speed_mps * 3.6)
        driven_m += float((world.fleet.odo - before)[beside[world.fleet.edge]].sum())
        before = world.fleet.odo.copy()
        if second > warm_up_s and second % LOOK_EVERY_S == 0:
            run.compare((run.scenario.clock.start.timestamp() + second) * 1000)
    return Result(
        case=case,
        vehicles=world.n,
        stalls=world.city.stalls.n,
        passes_per_h=driven_m / float(roads.length[kerbs].sum()) / (seconds / 3600),
        bursts_kmh=float(np.mean(speeds)),
        taken=float(world.occupied.mean()),
        median_age_s=float(np.median(run.ages)),
        late_age_s=float(np.quantile(run.ages, 0.9)),
        at_pass=run.passes.judged(),
        scores={name: compared.score() for name, compared in run.compared.items()},
    )
