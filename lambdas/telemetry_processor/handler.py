"""Lambda entry point: a Kinesis batch in, the sequence numbers to try again out."""

from __future__ import annotations

import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.kinesis_stream_event import KinesisStreamRecord
from botocore.config import Config

from telemetry_processor import logic
from telemetry_processor.pipeline import Pipeline

logger = Logger()
_batch = BatchProcessor(EventType.KinesisDataStreams, raise_on_entire_batch_failure=False)


class TryAgainError(RuntimeError):
    """This record was not fully processed."""


def _pipeline() -> Pipeline:
    config = Config(
        connect_timeout=2,
        read_timeout=10,
        retries={"total_max_attempts": 3, "mode": "standard"},
        # Requests are built by our code; checking 25 statements costs more than sending them.
        parameter_validation=False,
    )
    return Pipeline(
        s3=boto3.client("s3", config=config),
        dynamodb=boto3.client("dynamodb", config=config),
        sqs=boto3.client("sqs", config=config),
        bucket=os.environ["DATA_BUCKET"],
        vehicles_table=os.environ["VEHICLES_TABLE"],
        spots_table=os.environ["SPOTS_TABLE"],
        queue_url=os.environ["FAILURE_QUEUE_URL"],
        now_ms=lambda: time.time() * 1e3,
        max_ahead_ms=float(os.environ["MAX_AHEAD_SECONDS"]) * 1e3,
        counters_table=os.environ.get("COUNTERS_TABLE", ""),
    )


_shared: Pipeline | None = None


def handler(event: dict[str, Any], context: Any) -> Any:
    global _shared
    # The first invocation builds it, not the import: a test can set the environment first.
    _shared = _shared or _pipeline()
    if not event["Records"]:  # somebody wakes it before a run; the batch processor would refuse it
        return {"batchItemFailures": []}
    started = time.perf_counter()
    outcome = _shared.process([logic.incoming(record) for record in event["Records"]])

    def report(record: KinesisStreamRecord) -> None:
        if reason := outcome.failed.get(record.kinesis.sequence_number):
            raise TryAgainError(reason)

    response = process_partial_response(event, report, _batch, context)
    reasons = sorted(set(outcome.failed.values()))
    if outcome.uncounted:
        logger.warning("counters were not written", extra={"reason": outcome.uncounted})
    (logger.warning if reasons else logger.info)(
        "batch",
        records=len(event["Records"]),
        accepted=outcome.accepted,
        refused=outcome.refused,
        spots=outcome.spots,
        failed=len(outcome.failed),
        reasons=reasons[:5],
        ms=round((time.perf_counter() - started) * 1e3, 1),
    )
    return response
