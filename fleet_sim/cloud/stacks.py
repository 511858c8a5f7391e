"""One CloudFormation stack: create or update it by change set, delete it, follow its events."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fleet_sim.cloud.target import Target

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackEventTypeDef, StackTypeDef

OnEvent = Callable[[str, str, str, str], None]
"""`on_event(resource, type, status, reason)`, as CloudFormation reports it."""

_NO_CHANGES = re.compile(r"didn't contain changes|no updates are to be performed", re.IGNORECASE)
_SECONDARY = re.compile(r"cancelled|following resource\(s\) failed", re.IGNORECASE)
"""Reasons that only say that something else failed."""


class DeployError(RuntimeError):
    """A deployment failed; the message names the first failed resource and its reason."""


def describe(target: Target, name: str) -> StackTypeDef | None:
    """The stack with this name or id; None when there is none."""
    try:
        return target.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def outputs(target: Target, name: str) -> dict[str, str]:
    """Output name → value. `DeployError` when the stack is not there."""
    stack = describe(target, name)
    if stack is None:
        raise DeployError(f"stack {name} is not deployed in {target.region}")
    return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", ())}


def apply(
    target: Target, name: str, body: str, values: Mapping[str, str], on_event: OnEvent
) -> None:
    """Bring one stack to this template and these values by a change set."""
    cfn = target.client("cloudformation")
    stack = describe(target, name)
    if stack is not None and stack["StackStatus"] in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        delete(target, name, on_event)  # a creation that failed can only be deleted
        stack = None
    create = stack is None or stack["StackStatus"] == "REVIEW_IN_PROGRESS"
    change_set = f"fleet-sim-{uuid.uuid4().hex[:12]}"
    parameters: Any = [{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()]
    cfn.create_change_set(
        StackName=name,
        ChangeSetName=change_set,
        ChangeSetType="CREATE" if create else "UPDATE",
        TemplateBody=body,
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Tags=[{"Key": "fleet-sim:stack", "Value": target.stack}],
    )
    while True:
        made = cfn.describe_change_set(StackName=name, ChangeSetName=change_set)
        state, reason = made["Status"], made.get("StatusReason", "")
        if state == "CREATE_COMPLETE" and (made.get("Changes") or create):
            break
        if state == "CREATE_COMPLETE" or (state == "FAILED" and _NO_CHANGES.search(reason)):
            cfn.delete_change_set(StackName=name, ChangeSetName=change_set)
            on_event(name, "AWS::CloudFormation::Stack", "UNCHANGED", "")
            return
        if state == "FAILED":
            raise DeployError(f"{name}: change set failed: {reason}")
        _pause(target)
    seen = {event["EventId"] for event in _events(target, made["StackId"])}
    cfn.execute_change_set(StackName=name, ChangeSetName=change_set)
    _follow(target, made["StackId"], name, seen, on_event)


def delete(target: Target, name: str, on_event: OnEvent) -> None:
    """Delete one stack and wait for it; nothing happens when it is not there."""
    stack = describe(target, name)
    if stack is None:
        return
    stack_id = stack["StackId"]
    seen = {event["EventId"] for event in _events(target, stack_id)}
    target.client("cloudformation").delete_stack(StackName=name)
    _follow(target, stack_id, name, seen, on_event)


def _follow(target: Target, stack_id: str, name: str, seen: set[str], on_event: OnEvent) -> None:
    """Report a stack's events until it rests. `DeployError` when it rests in a failure."""
    first_failure: str | None = None
    begun = False
    while True:
        # The state first: events read after it hold all that led to it.
        stack = describe(target, stack_id)
        rest = stack["StackStatus"] if stack else "DELETE_COMPLETE"
        for event in reversed(list(_new_events(target, stack_id, seen))):
            resource, kind = event.get("LogicalResourceId", ""), event.get("ResourceType", "")
            state, reason = event.get("ResourceStatus", ""), event.get("ResourceStatusReason", "")
            on_event(resource, kind, state, reason)
            begun = True
            if state.endswith("_FAILED") and not first_failure and not _SECONDARY.search(reason):
                first_failure = f"{resource} ({kind}) {state}: {reason or 'no reason given'}"
        # A state from before the change must not end it.
        if stack is None or (begun and not rest.endswith("_IN_PROGRESS")):
            break
        _pause(target)
    if rest not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"):
        why = first_failure or (stack and stack.get("StackStatusReason")) or "no reason given"
        raise DeployError(f"{name}: {rest}: {why}")


def _events(target: Target, stack_id: str) -> Iterable[StackEventTypeDef]:
    """All events of a stack, newest first; none when it is not there (any more)."""
    pages = target.client("cloudformation").get_paginator("describe_stack_events")
    try:
        for page in pages.paginate(StackName=stack_id):
            yield from page["StackEvents"]
    except ClientError as error:
        if "does not exist" not in str(error):
            raise


def _new_events(target: Target, stack_id: str, seen: set[str]) -> Iterable[StackEventTypeDef]:
    """Events not seen before, newest first as CloudFormation lists them."""
    for event in _events(target, stack_id):
        if event["EventId"] in seen:
            return
        seen.add(event["EventId"])
        yield event


def _pause(target: Target) -> None:
    time.sleep(0.05 if target.local else 2.0)
