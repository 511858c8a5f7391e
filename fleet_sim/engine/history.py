"""`generate --backfill`: weeks of survey drives into a deployed archive, and their trends."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from rich.console import Console

from fleet_sim.cloud import deploy, registry
from fleet_sim.cloud.deploy import StackOutputs
from fleet_sim.cloud.stacks import DeployError
from fleet_sim.cloud.target import Target
from fleet_sim.engine import backfill
from fleet_sim.engine.operate import find_target, upload_city
from fleet_sim.engine.progress import ConsoleSteps, Steps
from fleet_sim.scenario import Scenario
from fleet_sim.world import build_cities, towns

_HOURS_A_CALL = 96
"""Counted by one invocation: some seconds, well within a client's patience."""
_PUTS = 8


class History(NamedTuple):
    """What was written and counted."""

    hours: int
    records: int
    streets: int


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the trends function answers."""

    hours: int
    records: int
    streets: int
    left: int


def write_history(
    state_dir: Path,
    target: str,
    stack: str,
    region: str | None,
    scenario: Scenario,
    days: int,
    console: Console,
    *,
    now: dt.datetime | None = None,
) -> History:
    """Put `days` days before `now` into the archive, and have their trends counted.

    The scenario's stalls are deployed if another city's are. `TargetError` without a target,
    `DeployError` when a stack is missing or the trends function fails.
    """
    where = find_target(state_dir, target, stack, region)
    outputs = deploy.outputs(where)
    cities = build_cities(scenario)
    with ConsoleSteps(console) as steps:
        if registry.deployed_city(where, outputs) != towns.registry(cities).city:
            upload_city(where, outputs, cities, steps)
        return _write(where, outputs, scenario, days, now or dt.datetime.now(dt.UTC), steps)


def _write(
    where: Target,
    outputs: StackOutputs,
    scenario: Scenario,
    days: int,
    now: dt.datetime,
    steps: Steps,
) -> History:
    s3 = where.client("s3")

    def put(hour: backfill.Hour) -> None:
        s3.put_object(
            Bucket=outputs.data_bucket,
            Key=hour.key,
            Body=hour.body,
            ContentType="application/gzip",
        )

    steps.step(f"driving {days} days of survey")
    zone = ZoneInfo(time_zone(where, outputs))
    total, records, first = days * 24, 0, ""
    with ThreadPoolExecutor(_PUTS, thread_name_prefix="backfill") as pool:
        waiting = []
        for hour in backfill.hours(scenario, days, now, zone):
            first = first or hour.key.removeprefix("telemetry/").rpartition("/")[0] + "/"
            records += hour.records
            waiting.append(pool.submit(put, hour))
            if len(waiting) >= 2 * _PUTS:
                waiting.pop(0).result()
            steps.detail(f"{records:,} messages")
        for done in waiting:
            done.result()
    steps.done(f"archive: {records:,} messages in {total:,} hours")
    steps.step("counting trends")
    counted = 0
    while True:
        answer = count(where, outputs, first)
        counted += answer.hours
        steps.detail(f"{counted:,} hours")
        if not answer.left:
            break
    steps.done(f"trends of {answer.streets:,} streets")
    return History(total, records, answer.streets)


def count(where: Target, outputs: StackOutputs, since: str) -> Counted:
    """Invoke the trends function for the hours from `since` (`dt=…/hour=…/`) on."""
    answer = where.client("lambda").invoke(
        FunctionName=outputs.trends_function,
        Payload=msgspec.json.encode({"since": since, "most": _HOURS_A_CALL}),
    )
    said = answer["Payload"].read()
    if answer.get("FunctionError"):
        raise DeployError(f"{outputs.trends_function} fails: {said[:500].decode(errors='replace')}")
    return msgspec.json.decode(said, type=Counted)


def time_zone(where: Target, outputs: StackOutputs) -> str:
    """The zone that the deployed trends are of."""
    config = where.client("lambda").get_function_configuration(FunctionName=outputs.trends_function)
    return config["Environment"]["Variables"]["TIME_ZONE"]
