"""What fleet-sim adds to Locust: where the stack is, phases, precise percentiles, thresholds.

Importing Locust patches the process for gevent: only the files of `loadtests/` import this module.
"""

import contextlib
import logging
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import gevent
import msgspec
from locust import LoadTestShape, events
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from fleet_sim.cloud.stacks import DeployError
from fleet_sim.cloud.target import TargetError
from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.load_area import Area
from fleet_sim.engine.load_plan import (
    BEGIN,
    READY,
    Plan,
    Spell,
    find_place,
    load_run,
    parse_threshold,
    plan_of,
)
from fleet_sim.engine.load_result import conclude, print_result
from fleet_sim.engine.load_talk import Order, VehiclesError, VehiclesProcess
from fleet_sim.engine.options import new_run_id
from fleet_sim.measure.load import Meter, Tally, slices
from fleet_sim.scenario import ScenarioError
from fleet_sim.world import build_cities

KEY = "fleet_sim"
"""Of our part in what a worker reports."""
INVALID = 2

log = logging.getLogger("fleet_sim")


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
        self.workers = 1
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

    def spell(self) -> Spell | None:
        return self.set_up.at(self.elapsed_s())

    def area(self, client: Any) -> Area:
        """Asked for once a process; the request counts as any other."""
        with self._asking:
            if self._area is None:
                with client.get("/streets", name="streets", catch_response=True) as answer:
                    try:
                        self._area = Area.of_geojson(answer.content or b"")
                    except ValueError as error:
                        answer.failure(str(error)[:120])
                        raise StopUser from None
            return self._area

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


class Phases(LoadTestShape):
    """As many users as the scenario's phases say."""

    abstract = True  # else every file that imports it would bring one

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
        spell = session.spell()
        return None if spell is None else (spell.users, plan.spawn_rate)


# -- events of Locust ------------------------------------------------------------------------------


def _options(parser: Any, **_: Any) -> None:
    def option(name: str, **more: Any) -> None:
        env = "FLEET_SIM_LOAD_" + name.strip("-").upper().replace("-", "_")
        parser.add_argument(name, env_var=env, include_in_web_ui=False, **more)

    option("--target", default="local", choices=["local", "aws"], help="Where the stack is")
    option("--stack-name", default="fleet-sim", help="Name that it was deployed under")
    option("--region", default=None, help="AWS region")
    option("--state-dir", default=".fleet-sim", help="Where `fleet-sim up` keeps the local AWS")
    option("--scenario", default=None, help="Its phases, load and thresholds are taken")
    option(
        "--threshold",
        action="append",
        default=[],
        help="'load_ms{name:near_spots}: p(95)<500'; may be repeated. Exit code 99 when broken",
    )
    option("--results", default="", help="Folder for load.json and the percentile tables")
    option("--plan", default=None, help="What `fleet-sim run` has written; instead of the others")
    option("--mqtt-vehicles", type=int, default=20, help="Connections of a process, at most")


def _init(environment: Any, **_: Any) -> None:
    try:
        plan = _plan(environment.parsed_options)
    except (TargetError, DeployError, ScenarioError, ValueError, OSError) as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        # Locust would catch SystemExit's family inside an event and go on without a plan.
        sys.stderr.flush()
        os._exit(INVALID)
    environment.host = environment.host or plan.place.api_url
    session.plan = plan
    session.ready.set()
    for user in list(environment.user_classes):
        kind = getattr(user, "kind", "")
        if kind in plan.mix:
            user.weight = plan.mix[kind]
            if not user.weight:
                environment.user_classes.remove(user)
    if plan.spells:
        environment.shape_class = Phases()  # type: ignore[no-untyped-call]
        environment.shape_class.runner = environment.runner
    if not isinstance(environment.runner, WorkerRunner):
        gevent.spawn(_every_second, environment.runner)
    environment.events.request.add_listener(_request)


def _plan(options: Any) -> Plan:
    if options.plan:
        return msgspec.json.decode(Path(options.plan).read_bytes(), type=Plan)
    state = Path(options.state_dir)
    place = find_place(options.target, options.stack_name, options.region, state)
    identities = state / "load-identities" / f"{place.target.account_id}-{place.target.region}"
    out = Path(options.results)
    run = new_run_id()
    if options.scenario:
        scenario = load_scenario(Path(options.scenario))
        if scenario.load is None:
            raise ValueError(
                f"{options.scenario}: load: is not there (allowed: a scenario with it)"
            )
        plan = plan_of(scenario, build_cities(scenario), place, run, identities, out)
    else:
        plan = Plan(
            place=place,
            run=load_run(run),
            identities=str(identities.resolve()),
            vehicles=options.mqtt_vehicles,
        )
    thresholds = {metric: list(rules) for metric, rules in plan.thresholds.items()}
    for text in options.threshold:
        metric, condition = parse_threshold(text)
        thresholds.setdefault(metric, []).append(condition)
    return msgspec.structs.replace(
        plan,
        thresholds={metric: tuple(rules) for metric, rules in thresholds.items()},
        out=str(out.resolve()) if options.results else "",
    )


def _request(
    request_type: str,
    name: str,
    response_time: float | None,
    response_length: int | None,
    exception: BaseException | None = None,
    **_: Any,
) -> None:
    error = f"{exception}" or type(exception).__name__ if exception is not None else ""
    # As Locust measured it, before it is rounded for its own tables.
    session.meter.record(
        int(time.time()), request_type, name, response_time or 0.0, response_length or 0, error
    )


def _report(client_id: str, data: dict[str, Any], **_: Any) -> None:
    data[KEY] = session.meter.take()


def _reported(client_id: str, data: dict[str, Any], **_: Any) -> None:
    session.tally.add(slices(data.get(KEY, ())))


def _every_second(runner: Any) -> None:
    while True:
        session.tally.users(int(time.time()), runner.user_count)
        session.tally.add(session.meter.take())
        if isinstance(runner, MasterRunner):
            session.workers = max(session.workers, runner.worker_count)
        gevent.sleep(1.0)


def _quitting(environment: Any, **_: Any) -> None:
    session.close()
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        environment.process_exit_code = 0  # the master judges
        return
    if isinstance(runner, MasterRunner):
        runner.stop()  # waits for the workers' last reports, where nobody has
    session.tally.add(session.meter.take())
    plan = session.plan
    if plan is None:
        return
    begin_s = time.time() if session.begin_s is None else session.begin_s
    if not plan.spells and session.tally.seconds:
        begin_s = session.tally.first_s
    warned = bool(
        getattr(runner, "cpu_warning_emitted", False)
        or getattr(runner, "worker_cpu_warning_emitted", False)
    )
    result = conclude(session.tally, plan, begin_s, session.workers, cpu_warning=warned)
    print_result(result, sys.stdout)
    if result.thresholds:
        environment.process_exit_code = 0 if all(t.passed for t in result.thresholds) else 99


def _listen() -> None:
    hooks: tuple[tuple[Any, Any], ...] = (
        (events.init_command_line_parser, _options),
        (events.init, _init),
        (events.report_to_master, _report),
        (events.worker_report, _reported),
        (events.quitting, _quitting),
    )
    for hook, listener in hooks:
        hook.add_listener(listener)


_listen()
