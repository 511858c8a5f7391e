"""What fleet-sim adds to Locust, at its events: options, where the stack is, precise percentiles
over all workers, thresholds.

Importing Locust patches the process for gevent: only the files of `loadtests/` import this module.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.lock import RLock
from locust import events
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from fleet_sim.cloud.stacks import DeployError
from fleet_sim.cloud.target import TargetError
from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.load.plan import Plan, find_place, load_run, parse_threshold, plan_of
from fleet_sim.engine.load.result import conclude, print_result
from fleet_sim.engine.load.session import Phases, session
from fleet_sim.engine.options import new_run_id
from fleet_sim.measure.load import Tally, slices
from fleet_sim.scenario import ScenarioError
from fleet_sim.world import build_cities

KEY = "fleet_sim"
"""Of our part in what a worker reports."""
ELAPSED = "fleet_sim_elapsed"
"""Message to the workers: seconds since the first spell began."""
LAST = "fleet_sim_last"
"""Message to the master: what a worker measured after its last report."""
LAST_TIMEOUT_S = 30.0
"""Users who are ended may have something to put in order first."""
INVALID = 2


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
    option(
        "--campaigns",
        action="store_true",
        help="Operators make campaigns on AWS too; its OperatorsTopic hears of each",
    )


def _init(environment: Any, web_ui: Any = None, **_: Any) -> None:
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
    session.campaigns = plan.place.target.local or environment.parsed_options.campaigns
    # `--processes` forks after these files were imported: all workers would draw the same.
    session.draw = random.Random()
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
        # Without a page Locust listens to this signal only once a shape has ended.
        gevent.signal_handler(signal.SIGTERM, _end)
    if isinstance(environment.runner, WorkerRunner):
        _stop_one_at_a_time(environment.runner)
        environment.runner.register_message(ELAPSED, _elapsed)
        environment.events.test_stop.add_listener(_hand_in)
        # Last in comes first there: before Locust tells the master that the worker has gone.
        environment.events.quitting.add_listener(_end_worker)
    else:
        if isinstance(environment.runner, MasterRunner):
            environment.runner.register_message(LAST, _handed_in)
            environment.events.test_stop.add_listener(_gather)
        gevent.spawn(_every_second, environment.runner)
    if web_ui is not None:  # a start begins anew there, as in Locust's own tables
        environment.events.test_start.add_listener(_anew)
    environment.events.request.add_listener(_request)


def _stop_one_at_a_time(runner: Any) -> None:
    """Ctrl-C reaches a worker and the master, which tells the worker. A second stop amid the first
    would kill users who put things in order, such as operators with a campaign to abort."""
    stop, lock = runner.stop, RLock()

    def stop_once() -> None:
        with lock:
            stop()  # the second finds it stopped

    runner.stop = stop_once


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


def _end() -> None:
    session.told_to_end = True


def _elapsed(environment: Any, msg: Any, **_: Any) -> None:
    session.hear(float(msg.data["s"]))


def _hand_in(environment: Any, **_: Any) -> None:
    environment.runner.send_message(LAST, session.meter.take())


def _handed_in(environment: Any, msg: Any, **_: Any) -> None:
    session.tally.add(slices(msg.data))
    session.handed_in.add(msg.node_id)


def _gather(environment: Any, **_: Any) -> None:
    """Have all workers end their users and hand in the rest. Locust itself waits half a second, and
    a worker reports every three."""
    runner = environment.runner

    def owing() -> list[str]:
        present = (node for node in runner.clients.all if node.state != STATE_MISSING)
        return [node.id for node in present if node.id not in session.handed_in]

    for worker in owing():
        runner.send_message("stop", client_id=worker)
    deadline = time.monotonic() + LAST_TIMEOUT_S
    while owing() and time.monotonic() < deadline:
        gevent.sleep(0.02)
    session.owing = len(owing())


def _anew(**_: Any) -> None:
    session.meter.take()
    session.tally = Tally()
    session.handed_in.clear()


def _every_second(runner: Any) -> None:
    while True:
        session.tally.users(int(time.time()), runner.user_count)
        session.tally.add(session.meter.take())
        if isinstance(runner, MasterRunner):
            session.workers = max(session.workers, runner.worker_count)
            session.lost = max(session.lost, len(runner.clients.missing))
            if session.begin_s is not None:
                runner.send_message(ELAPSED, {"s": session.elapsed_s()})
        gevent.sleep(1.0)


def _end_worker(environment: Any, **_: Any) -> None:
    environment.runner.stop()  # where nobody has, as when Ctrl-C reaches all processes
    session.close()
    environment.process_exit_code = 0  # the master judges


def _quitting(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        return
    if runner is not None:
        runner.stop()  # where nobody has, and before what the users use is closed
    session.close()
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
    problem = ""
    if lost := max(session.lost, session.owing):
        problem = f"{lost} of {session.workers} workers fell silent"
    result = conclude(
        session.tally, plan, begin_s, session.workers, cpu_warning=warned, problem=problem
    )
    print_result(result, sys.stdout)
    if any(not threshold.passed for threshold in result.thresholds):
        environment.process_exit_code = 99
    elif problem:
        environment.process_exit_code = 1
    elif result.thresholds:
        environment.process_exit_code = 0


def listen() -> None:
    """Once a process, before Locust reads its command line."""
    hooks: tuple[tuple[Any, Any], ...] = (
        (events.init_command_line_parser, _options),
        (events.init, _init),
        (events.report_to_master, _report),
        (events.worker_report, _reported),
        (events.quitting, _quitting),
    )
    for hook, listener in hooks:
        hook.add_listener(listener)
