"""Runs the contestants in turns, each in a process of its own, and compares them."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from fleet_sim.engine.bench.engine.task import Outcome, Task

WARMUP_S = 1.5
HELD = 0.97
"""Of the schedule's messages that must be acknowledged in the window."""
LATE_MS = 1_000.0
_PROCESS_TIMEOUT_S = 150.0
_FEWEST = 50


class Contestant(NamedTuple):
    name: str
    title: str
    module: str
    """What must be installed."""


CONTESTANTS = (
    Contestant("ours", "fleet-sim + physics", "fleet_sim"),
    Contestant("ours-fixed", "fleet-sim", "fleet_sim"),
    Contestant("floor", "floor", "fleet_sim"),
    Contestant("aiomqtt", "aiomqtt", "aiomqtt"),
    Contestant("awscrt", "awscrt", "awscrt"),
    Contestant("locust", "Locust MqttUser", "locust"),
)
NAMES = tuple(each.name for each in CONTESTANTS)


class Measured(msgspec.Struct, frozen=True):
    """One contestant: medians over the rounds."""

    name: str
    title: str
    vehicles: int
    """That it was measured with: fewer than asked when it could not hold more."""
    held: bool
    """It held the rate of all the vehicles that were asked for."""
    cpu_us: float
    """A message, user and system time of the whole process."""
    messages_s_core: float
    memory_kb: float
    """A vehicle: growth of the resident memory by making and connecting all of them."""
    connects_s: float
    lateness_p99_ms: float
    payload_bytes: float
    cpu_us_rounds: tuple[float, ...]


class Skipped(msgspec.Struct, frozen=True):
    name: str
    reason: str


class Target(msgspec.Struct, frozen=True):
    """What this engine is to reach, and whether it does."""

    claim: str
    ratio: float
    limit: float
    held: bool


class Contest(msgspec.Struct, frozen=True):
    """Everything that one run of the benchmark found."""

    version: str
    date: str
    machine: dict[str, str]
    """`cpu`, `cores`, `load` (average of the minute before), and versions by name."""
    broker: str
    vehicles: int
    period_s: float
    duration_s: float
    rounds: int
    measured: tuple[Measured, ...]
    skipped: tuple[Skipped, ...]
    targets: tuple[Target, ...]


class Setting(NamedTuple):
    """Of one run of the benchmark."""

    host: str
    port: int
    broker: str
    """Its name, for the page."""
    vehicles: int = 3_000
    period_s: float = 1.0
    duration_s: float = 8.0
    rounds: int = 3
    payload_bytes: int = 300
    names: tuple[str, ...] = NAMES


class ContestError(RuntimeError):
    """A contestant's process failed for a reason that fewer vehicles do not mend."""


def contest(
    setting: Setting, date: str, on_progress: Callable[[str], None] = lambda _: None
) -> Contest:
    """Measure all contestants that are installed. `ContestError` when one of ours fails."""
    chosen, skipped = [], []
    for each in CONTESTANTS:
        if each.name not in setting.names:
            continue
        if importlib.util.find_spec(each.module) is None:
            skipped.append(Skipped(each.name, f"{each.module} is not installed"))
        else:
            chosen.append(each)
    machine = _machine([each.module for each in chosen])
    fleet = {each.name: setting.vehicles for each in chosen}
    outcomes: dict[str, list[Outcome]] = {each.name: [] for each in chosen}
    for number in range(setting.rounds):
        # The order turns, so that nobody always follows the same.
        for each in chosen[number % len(chosen) :] + chosen[: number % len(chosen)]:
            if each.name not in fleet:
                continue
            on_progress(f"round {number + 1} of {setting.rounds}: {each.title}")
            # Only the first round looks for the number that it can hold.
            tries = 5 if number == 0 else 1
            found = _measure(setting, each, fleet[each.name], tries)
            if found is None:
                del fleet[each.name]
                skipped.append(Skipped(each.name, "did not connect or did not hold any rate"))
                continue
            fleet[each.name], outcome = found
            outcomes[each.name].append(outcome)
    measured = tuple(
        _summary(setting, each, fleet[each.name], outcomes[each.name])
        for each in chosen
        if each.name in fleet
    )
    return Contest(
        version=importlib.metadata.version("fleet-sim"),
        date=date,
        machine=machine,
        broker=setting.broker,
        vehicles=setting.vehicles,
        period_s=setting.period_s,
        duration_s=setting.duration_s,
        rounds=setting.rounds,
        measured=measured,
        skipped=tuple(skipped),
        targets=_targets({each.name: each for each in measured}),
    )


def _measure(
    setting: Setting, who: Contestant, vehicles: int, tries: int
) -> tuple[int, Outcome] | None:
    """An outcome, with the number of vehicles that it was measured with. Where the rate was not
    held, fewer are tried; the last try counts as it is."""
    last = None
    for _ in range(tries):
        outcome = _run(setting, who, vehicles)
        if outcome is None:
            share = 0.3
        else:
            last = vehicles, outcome
            share = outcome.acknowledged / (vehicles / setting.period_s * outcome.wall_s)
            if share >= HELD and outcome.lateness_p99_ms < LATE_MS:
                break
            share = min(share, 0.9) * 0.8
        fewer = max(_FEWEST, round(vehicles * share))
        if fewer >= vehicles:
            break
        vehicles = fewer
    return last


def _run(setting: Setting, who: Contestant, vehicles: int) -> Outcome | None:
    """One process. None when a library failed, by too many vehicles as it may be."""
    task = Task(
        who.name,
        setting.host,
        setting.port,
        vehicles,
        setting.period_s,
        WARMUP_S,
        setting.duration_s,
        setting.payload_bytes,
    )
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", f"{__package__}.child"],
            input=msgspec.json.encode(task),
            capture_output=True,
            timeout=_PROCESS_TIMEOUT_S,
        )
        return msgspec.json.decode(done.stdout.rpartition(b"\n")[2], type=Outcome)
    except subprocess.TimeoutExpired:
        return None
    except msgspec.DecodeError:
        if who.module != "fleet_sim":
            return None
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ContestError(f"{who.title}: {said[-1] if said else 'no answer'}") from None


def _summary(setting: Setting, who: Contestant, vehicles: int, outcomes: list[Outcome]) -> Measured:
    costs = tuple(1e6 * each.cpu_s / max(1, each.acknowledged) for each in outcomes)
    cpu_us = statistics.median(costs)
    held = vehicles == setting.vehicles and all(
        each.acknowledged >= HELD * vehicles / setting.period_s * each.wall_s for each in outcomes
    )
    return Measured(
        name=who.name,
        title=who.title,
        vehicles=vehicles,
        held=held,
        cpu_us=cpu_us,
        messages_s_core=1e6 / cpu_us,
        memory_kb=statistics.median(
            (each.connected_kb - each.base_kb) / each.connected for each in outcomes
        ),
        connects_s=statistics.median(each.connected / each.connect_s for each in outcomes),
        lateness_p99_ms=statistics.median(each.lateness_p99_ms for each in outcomes),
        payload_bytes=statistics.median(each.payload_bytes for each in outcomes),
        cpu_us_rounds=costs,
    )


def _targets(of: dict[str, Measured]) -> tuple[Target, ...]:
    found = []
    if "ours-fixed" in of:
        ours = of["ours-fixed"].cpu_us
        if "floor" in of:
            ratio = ours / of["floor"].cpu_us
            found.append(Target("CPU a message, at most × the floor", ratio, 1.7, ratio <= 1.7))
        for name, title, limit in (
            ("aiomqtt", "aiomqtt", 5.0),
            ("awscrt", "awscrt", 3.0),
            ("locust", "Locust MqttUser", 25.0),
        ):
            if name in of:
                ratio = of[name].cpu_us / ours
                claim = f"× cheaper than {title}, at least"
                found.append(Target(claim, ratio, limit, ratio >= limit))
    return tuple(found)


def _machine(modules: list[str]) -> dict[str, str]:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    versions = {"python": platform.python_version(), "kernel": platform.release()}
    for name in ("uvloop", "mqtt5", *(m for m in dict.fromkeys(modules) if m != "fleet_sim")):
        versions[name] = importlib.metadata.version(name)
    load = f"{os.getloadavg()[0]:.1f}"
    return {"cpu": model, "cores": str(os.cpu_count()), "load": load, **versions}


def mosquitto() -> str | None:
    """Its program, where Debian and others put it."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
