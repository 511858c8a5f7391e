"""Following a stack: what ends it, what failed first, and what "no changes" looks like."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleet_sim.cloud import stacks
from fleet_sim.cloud.stacks import DeployError
from fleet_sim.cloud.target import Target

TARGET = Target("eu-west-1", "1", "s", "broker", 8883, None)
STACK_ID = "arn:aws:cloudformation:eu-west-1:1:stack/s/1"


class FakeCloudFormation:
    """One stack. `script` says, look by look, its state and the events that have happened."""

    def __init__(self, state: str | None, *script: tuple[str | None, list[tuple[str, str, str]]]):
        self.state = state
        self.script = list(script)
        self.change_set: dict[str, Any] = {"Status": "CREATE_COMPLETE", "Changes": [{}]}
        self.history: list[dict[str, str]] = [self.event("s", "OLD_COMPLETE", "")]
        self.calls: list[str] = []
        self.running = False

    _ids = itertools.count()

    def event(self, resource: str, state: str, reason: str) -> dict[str, str]:
        return {
            "EventId": str(next(self._ids)),
            "LogicalResourceId": resource,
            "ResourceType": "AWS::X::Y",
            "ResourceStatus": state,
            "ResourceStatusReason": reason,
        }

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        if self.running and self.script:
            self.state, events = self.script.pop(0)
            self.history[:0] = [self.event(*event) for event in reversed(events)]
        if self.state is None:
            error = {"Error": {"Code": "ValidationError", "Message": "Stack does not exist"}}
            raise ClientError(error, "DescribeStacks")  # type: ignore[arg-type]
        return {"Stacks": [{"StackId": STACK_ID, "StackStatus": self.state}]}

    def get_paginator(self, _: str) -> Any:
        pages = [{"StackEvents": [event]} for event in self.history]
        return SimpleNamespace(paginate=lambda **_: iter(pages))

    def create_change_set(self, **request: Any) -> None:
        self.calls.append(f"create {request['ChangeSetType']}")

    def describe_change_set(self, **_: Any) -> dict[str, Any]:
        return {"StackId": STACK_ID, **self.change_set}

    def delete_change_set(self, **_: Any) -> None:
        self.calls.append("drop change set")

    def execute_change_set(self, **_: Any) -> None:
        self.calls.append("execute")
        self.running = True

    def delete_stack(self, **_: Any) -> None:
        self.calls.append("delete")
        self.running = True


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_pause", lambda _: None)


def apply(fake: FakeCloudFormation, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    monkeypatch.setattr(Target, "client", lambda *_: fake)
    seen: list[tuple[str, ...]] = []
    stacks.apply(TARGET, "s", "body", {}, lambda *event: seen.append(event))
    return seen


def test_a_new_stack_is_created_and_its_events_reported_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeCloudFormation(
        None,
        ("CREATE_IN_PROGRESS", [("s", "CREATE_IN_PROGRESS", ""), ("A", "CREATE_IN_PROGRESS", "")]),
        ("CREATE_IN_PROGRESS", [("A", "CREATE_COMPLETE", "")]),
        ("CREATE_COMPLETE", [("s", "CREATE_COMPLETE", "")]),
    )
    seen = apply(fake, monkeypatch)
    assert fake.calls == ["create CREATE", "execute"]
    assert [(name, state) for name, _, state, _ in seen] == [
        ("s", "CREATE_IN_PROGRESS"),
        ("A", "CREATE_IN_PROGRESS"),
        ("A", "CREATE_COMPLETE"),
        ("s", "CREATE_COMPLETE"),
    ]


def test_the_first_failure_is_the_one_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCloudFormation(
        None,
        (
            "CREATE_IN_PROGRESS",
            [
                ("B", "CREATE_FAILED", "Resource creation cancelled"),
                ("A", "CREATE_FAILED", "no such role"),
                ("C", "CREATE_FAILED", "another thing"),
                ("s", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [A]"),
            ],
        ),
        ("ROLLBACK_COMPLETE", []),
    )
    with pytest.raises(DeployError) as caught:
        apply(fake, monkeypatch)
    assert str(caught.value) == "s: ROLLBACK_COMPLETE: A (AWS::X::Y) CREATE_FAILED: no such role"


def test_a_state_from_before_the_update_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCloudFormation(
        "UPDATE_COMPLETE",
        ("UPDATE_COMPLETE", []),
        ("UPDATE_IN_PROGRESS", [("s", "UPDATE_IN_PROGRESS", "")]),
        ("UPDATE_ROLLBACK_COMPLETE", [("A", "UPDATE_FAILED", "refused")]),
    )
    with pytest.raises(DeployError, match=r"A .*refused"):
        apply(fake, monkeypatch)
    assert fake.calls == ["create UPDATE", "execute"]


@pytest.mark.parametrize(
    "answer",
    [
        {"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes. "},
        {"Status": "FAILED", "StatusReason": "No updates are to be performed."},
        {"Status": "CREATE_COMPLETE", "Changes": []},
    ],
)
def test_no_changes_are_no_error(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    fake = FakeCloudFormation("CREATE_COMPLETE")
    fake.change_set = answer
    assert [state for _, _, state, _ in apply(fake, monkeypatch)] == ["UNCHANGED"]
    assert fake.calls == ["create UPDATE", "drop change set"]


def test_a_refused_change_set_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCloudFormation("CREATE_COMPLETE")
    fake.change_set = {"Status": "FAILED", "StatusReason": "Transform failed"}
    with pytest.raises(DeployError, match="s: change set failed: Transform failed"):
        apply(fake, monkeypatch)


def test_a_creation_that_was_rolled_back_is_cleared_away_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeCloudFormation(
        "ROLLBACK_COMPLETE",
        (None, []),
        ("CREATE_COMPLETE", [("s", "CREATE_COMPLETE", "")]),
    )
    apply(fake, monkeypatch)
    assert fake.calls == ["delete", "create CREATE", "execute"]
