"""What the users in one process of Locust share: the plan, where they want to go, a process with
vehicles, and what they measured. And the phases, as a `LoadTestShape`.

Importing Locust patches the process for gevent: only the files of `loadtests/` import this module.
"""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
from locust import LoadTestShape
from locust.exception import StopUser

from fleet_sim.engine.load.area import Area
from fleet_sim.engine.load.plan import BEGIN, READY, Plan, Spell
from fleet_sim.engine.load.talk import Order, VehiclesError, VehiclesProcess
from fleet_sim.measure.load import Meter, Tally

TRIES = 5
"""For the streets: without them nobody knows where to go."""


class Session:
    """Of this process: the plan, what was measured, and what its users share."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.ready = threading.Event()
        self.begin_s: float | None = None
        """When the first spell began, s since the epoch."""
        self.meter = Meter()
        self.tally = Tally()
        self.draw = random.Random()
        self.workers, self.lost = 1, 0
        """Most workers at a time, and most that were silent at a time."""
        self.handed_in: set[str] = set()
        """Workers that have ended their users and reported all of it."""
        self.owing = 0
        """Workers that have not, when there was no more time."""
        self.told_to_end = False
        self.campaigns = False
        """Whether operators may make campaigns."""
        self._area: Area | None = None
        self._vehicles: VehiclesProcess | None = None
        self._vehicles_problem = ""
        self._taken = 0
        self._starting = threading.Lock()
        self._asking = threading.Lock()

    @property
    def set_up(self) -> Plan:
        """The plan, once it is there: a worker may be told to begin while it still looks for the
        stack."""
        if self.plan is None:
            self.ready.wait()
        assert self.plan is not None
        return self.plan

    def elapsed_s(self) -> float:
        """Since the first spell began; below 0 before it."""
        return -1.0 if self.begin_s is None else time.time() - self.begin_s

    def hear(self, elapsed_s: float) -> None:
        """A worker is told how long ago the first spell began: clocks of machines differ."""
        self.begin_s = time.time() - elapsed_s

    def spell(self) -> Spell | None:
        return self.set_up.at(self.elapsed_s())

    def area(self, client: Any) -> Area:
        """Asked for once a process; the request counts as any other."""
        with self._asking:
            if self._area is None:
                self._area = self._streets(client)
            return self._area

    def _streets(self, client: Any) -> Area:
        """The user ends when they do not come; the next one tries again."""
        for again in reversed(range(TRIES)):
            with client.get("/streets", name="streets", catch_response=True) as answer:
                try:
                    return Area.of_geojson(answer.content or b"")
                except ValueError as error:
                    answer.failure(str(error)[:120])
            if again:
                gevent.sleep(1.0)
        raise StopUser

    def goal(self, client: Any) -> tuple[float, float]:
        """Where the next user wants to go."""
        area = self.area(client)
        spell = self.spell() if self.set_up.spells else None
        return area.goal(self.draw, spell.hot if spell else ())

    def vehicles(self, worker: int) -> VehiclesProcess:
        """Started with the first user that publishes. `VehiclesError` when that fails, each
        time."""
        with self._starting:
            if self._vehicles_problem:
                raise VehiclesError(self._vehicles_problem)
            if self._vehicles is None:
                plan = self.set_up
                order = Order(
                    run=plan.run,
                    vehicles=plan.vehicles,
                    process=worker,
                    identities=plan.identities,
                    place=plan.place,
                )
                try:
                    self._vehicles = VehiclesProcess(order)
                except VehiclesError as error:
                    self._vehicles_problem = str(error)
                    raise
            return self._vehicles

    def take_vehicle(self) -> int:
        """In turn; with more users than vehicles some share one."""
        self._taken += 1
        return (self._taken - 1) % max(1, self.set_up.vehicles)

    def close(self) -> None:
        if self._vehicles is not None:
            self._vehicles.close()
            self._vehicles = None


session = Session()


@contextlib.contextmanager
def under_way(kind: str, name: str) -> Iterator[None]:
    """Something a user waits for: when the user is ended meanwhile, it counts as cut."""
    try:
        yield
    except gevent.GreenletExit:
        session.meter.cut(int(time.time()), kind, name)
        raise


class Phases(LoadTestShape):
    """As many users as the scenario's phases say."""

    abstract = True  # else every file that imports it would bring one

    def reset_time(self) -> None:
        """Locust calls it at each start, of which its web page allows more than one."""
        super().reset_time()  # type: ignore[no-untyped-call]
        session.begin_s = None

    def tick(self) -> tuple[int, float] | None:
        plan = session.set_up
        if session.begin_s is None:
            if plan.waits:
                (Path(plan.out) / READY).touch()
                with contextlib.suppress(FileNotFoundError):
                    session.begin_s = float((Path(plan.out) / BEGIN).read_text())
            else:
                session.begin_s = time.time()
            if session.begin_s is None:
                return 0, plan.spawn_rate
        spell = None if session.told_to_end else session.spell()
        return None if spell is None else (spell.users, plan.spawn_rate)
