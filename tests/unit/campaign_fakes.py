"""Doubles of what the campaign service stands on: the Jobs service, a table."""

import datetime as dt
import threading
from typing import Any

from botocore.exceptions import ClientError

from fleet_sim.contract.jobs import TERMINAL

URL = "https://s3.us-east-1.amazonaws.com/b/a.img"
FIRMWARE = {
    "version": "1.1.0",
    "images": {"": {"target": "a.img", "image_url": URL, "metadata_url": URL}},
    "url_life_s": 600,
}


class KilledError(RuntimeError):
    """The function ends here, whatever it was about to do."""


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "test")


class FakeIot:
    """The Jobs service's control plane, by its documented answers."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.executions: dict[tuple[str, str], dict[str, Any]] = {}
        self.missing: set[str] = set()
        self.now_s = 0.0
        self.made: list[str] = []

    def create_job(self, **request: Any) -> None:
        name = request["jobId"]
        if name in self.jobs:
            raise client_error("ResourceAlreadyExistsException")
        things = [target.rpartition("/")[2] for target in request["targets"]]
        if self.missing & set(things):
            raise client_error("ResourceNotFoundException")
        self.jobs[name] = {**request, "status": "IN_PROGRESS"}
        self.made.append(name)
        for thing in things:
            self.executions[name, thing] = {"status": "QUEUED", "at": self.now_s, "details": {}}

    def describe_thing(self, thingName: str) -> None:  # noqa: N803
        if thingName in self.missing:
            raise client_error("ResourceNotFoundException")

    def describe_job(self, jobId: str) -> Any:  # noqa: N803
        if jobId not in self.jobs:
            raise client_error("ResourceNotFoundException")
        return {"job": self.jobs[jobId]}

    def cancel_job_execution(self, jobId: str, thingName: str, force: bool) -> None:  # noqa: N803
        execution = self._of(jobId, thingName)
        if execution["status"] in TERMINAL or (execution["status"] != "QUEUED" and not force):
            raise client_error("InvalidStateTransitionException")
        execution.update(status="CANCELED", at=self.now_s)

    def describe_job_execution(self, jobId: str, thingName: str) -> Any:  # noqa: N803
        execution = self._of(jobId, thingName)
        return {
            "execution": {
                "status": execution["status"],
                "lastUpdatedAt": dt.datetime.fromtimestamp(execution["at"], dt.UTC),
                "statusDetails": {"detailsMap": execution["details"]},
            }
        }

    def list_job_executions_for_job(self, jobId: str, maxResults: int) -> Any:  # noqa: N803
        if jobId not in self.jobs:
            raise client_error("ResourceNotFoundException")
        return {
            "executionSummaries": [
                {
                    "thingArn": f"arn:aws:iot:r:1:thing/{thing}",
                    "jobExecutionSummary": {
                        "status": execution["status"],
                        "lastUpdatedAt": dt.datetime.fromtimestamp(execution["at"], dt.UTC),
                    },
                }
                for (name, thing), execution in self.executions.items()
                if name == jobId
            ]
        }

    def report(self, thing: str, status: str, **details: str) -> tuple[str, str, str, Any]:
        """The vehicle's report on its open job; the event that follows from it."""
        (name,) = [
            n for (n, t), e in self.executions.items() if t == thing and e["status"] not in TERMINAL
        ]
        self.executions[name, thing] = {"status": status, "at": self.now_s, "details": details}
        return name, thing, status, details

    def _of(self, name: str, thing: str) -> dict[str, Any]:
        if (name, thing) not in self.executions:
            raise client_error("ResourceNotFoundException")
        return self.executions[name, thing]


class FakeDynamo:
    """A table, as far as the store uses it: moto holds the expressions to the real thing above, and
    is too slow for a hundred campaigns."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Any] = {}
        self.lock = threading.Lock()

    def _key(self, item: Any) -> tuple[str, str]:
        return item["campaign"]["S"], item["item"]["S"]

    def _fits(self, put: Any) -> bool:
        old = self.items.get(self._key(put["Item"]))
        match put.get("ConditionExpression"):
            case None:
                return True
            case "attribute_not_exists(campaign)":
                return old is None
            case "revision = :old":
                return bool(old and old["revision"] == put["ExpressionAttributeValues"][":old"])
        raise AssertionError(put)

    def put_item(self, **put: Any) -> None:
        with self.lock:
            if not self._fits(put):
                raise client_error("ConditionalCheckFailedException")
            self.items[self._key(put["Item"])] = put["Item"]

    def transact_write_items(self, TransactItems: Any) -> None:  # noqa: N803
        assert 0 < len(TransactItems) <= 100
        with self.lock:
            if not all(
                self._fits(item["Put"]) if "Put" in item else self._is_old(item["Update"])
                for item in TransactItems
            ):
                reasons = {"CancellationReasons": [{"Code": "ConditionalCheckFailed"}]}
                detail = {"Error": {"Code": "TransactionCanceledException", "Message": ""}}
                raise ClientError({**detail, **reasons}, "test")  # type: ignore[typeddict-item]
            for item in TransactItems:
                if "Put" in item:
                    self.items[self._key(item["Put"]["Item"])] = item["Put"]["Item"]
                else:
                    self._set(item["Update"])

    def update_item(self, **update: Any) -> None:
        with self.lock:
            if not self._is_old(update):
                raise client_error("ConditionalCheckFailedException")
            self._set(update)

    def _is_old(self, update: Any) -> bool:
        old = update["ExpressionAttributeValues"][":old"]
        return bool(self.items[self._key(update["Key"])]["record"] == old)

    def _set(self, update: Any) -> None:
        new = update["ExpressionAttributeValues"][":new"]
        self.items[self._key(update["Key"])]["record"] = new

    def batch_get_item(self, RequestItems: Any) -> Any:  # noqa: N803
        ((table, wanted),) = RequestItems.items()
        assert 0 < len(wanted["Keys"]) <= 100
        found = [self.items.get(self._key(key)) for key in wanted["Keys"]]
        return {"Responses": {table: [dict(item) for item in found if item]}}

    def delete_item(self, **request: Any) -> None:
        with self.lock:
            self.items.pop(self._key(request["Key"]), None)

    def get_item(self, **request: Any) -> Any:
        item = self.items.get(self._key(request["Key"]))
        return {"Item": dict(item)} if item else {}

    def query(self, **request: Any) -> Any:
        values = request["ExpressionAttributeValues"]
        campaign, first, last = (values[name]["S"] for name in (":c", ":first", ":last"))
        found = sorted(k for k in self.items if k[0] == campaign and first <= k[1] <= last)
        limit = request.get("Limit", len(found))
        answer: dict[str, Any] = {"Items": [dict(self.items[key]) for key in found[:limit]]}
        if found[limit:]:
            campaign, item = found[limit - 1]
            answer["LastEvaluatedKey"] = {"campaign": {"S": campaign}, "item": {"S": item}}
        return answer
