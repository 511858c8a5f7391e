"""One event source mapping: its settings, calling its function, and telling what was given up."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import uuid
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

import msgspec

from fleet_sim.cloud.local.gaps import _seam
from fleet_sim.cloud.local.gaps._stream_batch import Discard, Policy, Record
from fleet_sim.cloud.local.gaps._stream_reader import Outcome, Settings, ShardReader, Target

log = logging.getLogger("fleet_sim.local.lambda")

DEFAULTS = {
    "MaximumBatchingWindowInSeconds": 0,
    "ParallelizationFactor": 1,
    "MaximumRecordAgeInSeconds": -1,
    "MaximumRetryAttempts": -1,
    "BisectBatchOnFunctionError": False,
    "TumblingWindowInSeconds": 0,
}


def reads_kinesis(mapping: dict[str, Any]) -> bool:
    return str(mapping.get("EventSourceArn", "")).startswith("arn:aws:kinesis:")


def enabled(mapping: dict[str, Any]) -> bool:
    """CloudFormation may have left the flag as text."""
    return str(mapping.get("Enabled", True)).lower() != "false"


def settings(mapping: dict[str, Any]) -> Settings:
    values = {**DEFAULTS, "BatchSize": 100, **mapping}
    return Settings(
        batch_size=int(values["BatchSize"]),
        window_s=float(values["MaximumBatchingWindowInSeconds"]),
        lanes=int(values["ParallelizationFactor"]),
        policy=Policy(
            maximum_retries=int(values["MaximumRetryAttempts"]),
            maximum_age_s=float(values["MaximumRecordAgeInSeconds"]),
            bisect=str(values["BisectBatchOnFunctionError"]).lower() == "true",
            reports_item_failures="ReportBatchItemFailures"
            in (mapping.get("FunctionResponseTypes") or ()),
        ),
    )


class Mapping:
    """One mapping's readers, and what they need of the other services."""

    def __init__(self, scope: tuple[str, str], stored: dict[str, Any], pool: Executor) -> None:
        self.stored = stored
        self.readers: dict[str, ShardReader] = {}
        self.lanes = settings(stored).lanes
        self._scope = scope
        self._pool = pool
        self._lambda = _seam.service("lambda_svc")
        self._request_scope = _seam.core("responses").request_scope
        self._arn = str(stored["EventSourceArn"])
        self._responses: dict[int, dict[str, Any]] = {}

    def target(self) -> Target:
        return Target(
            settings=lambda: settings(self.stored), invoke=self._invoke, discard=self._discard
        )

    async def _invoke(self, shard_id: str, records: list[Record]) -> Outcome:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, context.run, self._call, shard_id, records)

    def _call(self, shard_id: str, records: list[Record]) -> Outcome:
        service, stored = self._lambda, self.stored
        with self._request_scope(*self._scope):
            function, _ = service._get_func_record_for_qualifier(
                stored["FunctionName"], stored.get("Qualifier")
            )
            if function is None:
                stored["LastProcessingResult"] = "PROBLEM: Function not found"
                return Outcome(throttled=True)
            role = function["config"].get("Role", "")
            event_records = [self._event_record(shard_id, record, role) for record in records]
            wanted = service._apply_filter_criteria(event_records, stored)
            if not wanted:
                return Outcome()
            result = service._execute_function(function, {"Records": wanted})
        if result.get("throttle"):
            stored["LastProcessingResult"] = "PROBLEM: Function call was throttled"
            return Outcome(throttled=True)
        if result.get("error"):
            stored["LastProcessingResult"] = "PROBLEM: Function call failed"
            log.warning("%s failed for %d records of %s: %s", stored["FunctionName"],
                        len(wanted), shard_id, result.get("body"))  # fmt: skip
            return Outcome(failed=True)
        stored["LastProcessingResult"] = "OK"
        return Outcome(response=result.get("body"))

    def _event_record(self, shard_id: str, record: Record, role: str) -> dict[str, Any]:
        sequence = record["SequenceNumber"]
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record["PartitionKey"],
                "sequenceNumber": sequence,
                "data": record["Data"],
                "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"],
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{shard_id}:{sequence}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": role,
            "awsRegion": self._scope[1],
            "eventSourceARN": self._arn,
        }

    async def _discard(self, shard_id: str, discard: Discard) -> None:
        log.warning("%s gives up %d records of %s after %d invocations",
                    self.stored["FunctionName"], len(discard.records), shard_id,
                    discard.invocations)  # fmt: skip
        destination = (self.stored.get("DestinationConfig") or {}).get("OnFailure") or {}
        arn = destination.get("Destination")
        if not arn:
            return
        body = msgspec.json.encode(self._invocation_record(shard_id, discard)).decode()
        try:
            with self._request_scope(*self._scope):
                _send(arn, body)
        except Exception:
            # AWS drops what its destination refuses; the shard must go on.
            log.exception("the failure destination %s took no invocation record", arn)

    def _invocation_record(self, shard_id: str, discard: Discard) -> dict[str, Any]:
        first, last = discard.records[0], discard.records[-1]
        document: dict[str, Any] = {
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "functionArn": self.stored["FunctionArn"],
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": discard.invocations,
            }
        }
        if discard.invocations:
            document["responseContext"] = {
                "statusCode": 200,
                "executedVersion": self.stored.get("Qualifier") or "$LATEST",
                "functionError": "Unhandled",
            }
        return document | {
            "version": "1.0",
            "timestamp": _iso(time.time()),
            "KinesisBatchInfo": {
                "shardId": shard_id,
                "startSequenceNumber": first["SequenceNumber"],
                "endSequenceNumber": last["SequenceNumber"],
                "approximateArrivalOfFirstRecord": _iso(first["ApproximateArrivalTimestamp"]),
                "approximateArrivalOfLastRecord": _iso(last["ApproximateArrivalTimestamp"]),
                "batchSize": len(discard.records),
                "streamArn": self._arn,
            },
        }


def _send(arn: str, body: str) -> None:
    """To an SQS queue or an SNS topic."""
    kind, name = arn.split(":")[2], arn.rpartition(":")[2]
    if kind == "sqs":
        sqs = _seam.service("sqs")
        sqs._act_send_message({"MessageBody": body}, sqs._queue_url(name))
    elif kind == "sns":
        if _seam.service("sns").publish_internal(arn, body) is None:
            raise LookupError(f"there is no topic {arn}")
    else:
        raise ValueError(f"the local AWS has no {kind} destinations")


def _iso(epoch_s: float) -> str:
    moment = datetime.fromtimestamp(epoch_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
