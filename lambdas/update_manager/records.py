"""How a vehicle's record moves on with what the Jobs service says: pure.

What comes twice, late or out of order falls out here.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from fleet_sim.contract.campaign_records import Target
from fleet_sim.contract.campaigns import Retry

OPEN_JOB: frozenset[str] = frozenset({"queued", "in_progress"})
GIVEN_UP = "timeout"
"""Reason of a vehicle that fell silent."""
DEFERRED = "deferred"
"""How the reason of a vehicle begins that waits for its preconditions."""


class Observation(NamedTuple):
    """What the Jobs service says about a vehicle's attempt."""

    attempt: int
    status: str
    """As the service writes it: `IN_PROGRESS`."""
    at_s: float
    reason: str = ""


def asked(target: Target, now_s: float, group: str) -> Target:
    """Its next job is about to be made. On record before that, because whoever makes it may die
    before it says so: what stops the campaign then looks for the job."""
    return msgspec.structs.replace(target, asked_s=now_s, group=group)


def started(target: Target, now_s: float) -> Target:
    """Its next job is made."""
    return msgspec.structs.replace(
        target,
        status="queued",
        attempt=target.attempt + 1,
        heard_s=now_s,
        due_s=0.0,
        ending="",
        queued_s=target.queued_s if target.attempt else now_s,
        asked_s=0.0,
    )


def observe(target: Target, seen: Observation, retry: Retry) -> Target:
    """The vehicle's record after what was seen; the same one when that is nothing new.

    What was seen twice or out of order falls out here: a final record stays, another attempt's
    news is none, and a status never goes back.
    """
    # Its maker was killed before it could record the job.
    unrecorded = target.status in ("waiting", "retrying") and seen.attempt == target.attempt + 1
    if seen.attempt != target.attempt and not unrecorded:
        return target
    if unrecorded:
        target = started(target, seen.at_s)
    if target.status not in OPEN_JOB:
        return target  # it has ended; or the last attempt has, and the next one waits
    replace, heard_s = msgspec.structs.replace, max(seen.at_s, target.heard_s)
    match seen.status:
        case "QUEUED":
            return target
        case "IN_PROGRESS":
            if target.status == "queued":  # it has begun before its job could be taken back
                target = replace(target, status="in_progress", ending="")
            if (seen.at_s > target.heard_s or seen.reason) and not target.faulty:
                target = replace(target, reason=seen.reason)
            return replace(target, heard_s=heard_s)
        case "SUCCEEDED":
            reason = target.reason if target.faulty else ""
            return replace(target, status="succeeded", heard_s=heard_s, reason=reason, ending="")
        case "FAILED":
            return _failed(target, retry, heard_s, seen.reason)
        case "TIMED_OUT":
            return _failed(target, retry, heard_s, GIVEN_UP)
        case "REJECTED":
            return replace(
                target, status="rejected", heard_s=heard_s, reason=seen.reason, ending="",
                faulty=False,
            )  # fmt: skip
    # CANCELED, REMOVED: by us, for the reason that was written down before; or by somebody else.
    match target.ending:
        case "recall":
            return replace(target, status="waiting", heard_s=heard_s, ending="")
        case "timeout":
            return _failed(target, retry, heard_s, GIVEN_UP)
        case "unreached":
            return replace(target, status="unreached", heard_s=heard_s, ending="")
    return replace(target, status="canceled", heard_s=heard_s, ending="")


def _failed(target: Target, retry: Retry, at_s: float, reason: str) -> Target:
    failures = target.failures + 1
    again = reason in retry.reasons and failures < retry.attempts
    return msgspec.structs.replace(
        target,
        status="retrying" if again else "failed",
        failures=failures,
        heard_s=at_s,
        due_s=at_s + retry.backoff_s * 2 ** (failures - 1) if again else 0.0,
        reason=reason,
        ending="",
        faulty=False,
    )


def broken(target: Target, reason: str) -> Target:
    """It says that it broke, after it was updated. That may be faster than the news of its success:
    then it counts when that has come."""
    if target.faulty or target.status not in ("succeeded", *OPEN_JOB):
        return target
    return msgspec.structs.replace(target, faulty=True, reason=reason)
