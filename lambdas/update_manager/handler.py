"""Lambda entry point of the campaign driver: job events, the state machine, the schedule."""

from __future__ import annotations

import math
import os
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from fleet_sim.contract.campaign_records import ENDED, parse_job_id
from update_manager import clients, jobs
from update_manager.driver import Turn
from update_manager.records import Observation

logger = Logger()

TURNS = 2_000
"""Of one execution of the state machine: its history has 25,000 events at most (Step Functions
quotas), and a turn makes about nine."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    if "Records" in event:
        return _events(event["Records"])
    if "campaign" in event:
        return _turn(event["campaign"], int(event["turn"]), int(event["generation"]))
    return _schedule()


def _turn(campaign_id: str, turn: int, generation: int) -> dict[str, Any]:
    """One turn of the state machine: drive, and how long to wait for the next one."""
    done = _drive(campaign_id, reconcile=True)
    answer = {"campaign": campaign_id, "turn": turn + 1, "generation": generation}
    if done is None or done.ended:
        return {**answer, "ended": True, "wait_s": 1}
    if turn + 1 >= TURNS:
        start_machine(campaign_id, generation + 1)
        return {**answer, "ended": True, "wait_s": 1}
    wait_s = min(math.ceil(done.wait_s), int(os.environ["TICK_SECONDS"]))
    return {**answer, "ended": False, "wait_s": wait_s}


def start_machine(campaign_id: str, generation: int) -> None:
    """The name makes it happen once."""
    states = clients.client("stepfunctions")
    try:
        states.start_execution(
            stateMachineArn=os.environ["MACHINE_ARN"],
            name=f"{campaign_id}-{generation}",
            input=msgspec.json.encode(
                {"campaign": campaign_id, "turn": 0, "generation": generation}
            ).decode(),
        )
    except states.exceptions.ExecutionAlreadyExists:
        return


def _schedule() -> dict[str, Any]:
    """A campaign goes on even if its execution was lost or stopped, or another one cannot."""
    driven = 0
    failed: dict[str, Exception] = {}
    for campaign_id in clients.store().ids():
        try:
            held = clients.store().read(campaign_id)
            if held is not None and held.campaign.state not in ENDED:
                _drive(campaign_id, reconcile=True)
                driven += 1
        except Exception as error:
            logger.exception("drive failed", campaign=campaign_id)
            failed[campaign_id] = error
    if failed:  # seen in the function's metric, and tried again
        names = ", ".join(failed)
        raise ExceptionGroup(f"campaigns could not be driven: {names}", list(failed.values()))
    return {"driven": driven}


def _drive(campaign_id: str, *, reconcile: bool) -> Turn | None:
    done = clients.driver().drive(campaign_id, reconcile=reconcile)
    if done is not None:
        clients.measure(done.counts)
        logger.info(
            "driven", campaign=campaign_id, state=done.campaign.state, wave=done.campaign.wave
        )
    return done


def _events(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Job events and the API's wishes from the queue. What failed comes again."""
    failures: list[str] = []
    news: list[tuple[str, int, str, Observation]] = []
    to_drive: dict[str, list[str]] = {}
    for message in messages:
        try:
            event = msgspec.json.decode(message["body"])
            if "drive" in event:
                to_drive.setdefault(event["drive"], []).append(message["messageId"])
            elif (item := _news(event)) is not None:
                news.append(item)
                # A success can wait for the next turn; anything else is for the gate, at once.
                if event["status"] != "SUCCEEDED":
                    to_drive.setdefault(item[0], []).append(message["messageId"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            logger.exception("no job event", message_id=message["messageId"])
            failures.append(message["messageId"])
    clients.driver().observe(news)  # all of them come again if this fails
    for campaign_id, ids in to_drive.items():
        try:
            _drive(campaign_id, reconcile=False)
        except Exception:
            logger.exception("drive failed", campaign=campaign_id)
            failures += ids
    return {"batchItemFailures": [{"itemIdentifier": name} for name in failures]}


def _news(event: dict[str, Any]) -> tuple[str, int, str, Observation] | None:
    """Campaign, wave, thing and state; None for a job that is no campaign's."""
    name, thing = event["jobId"], event["thingArn"].rpartition("/")[2]
    details = {k: str(v) for k, v in (event.get("statusDetails") or {}).items()}
    at_s = float(event["timestamp"])
    at_s = at_s / 1e3 if at_s > 1e11 else at_s  # AWS documents seconds, and has sent ms
    seen = jobs.seen(name, event["status"], at_s, details)
    named = parse_job_id(name)
    return None if seen is None or named is None else (named[0], named[1], thing, seen)
