"""Lambda entry point, on a schedule: counts what is new in the archive, and folds it into weeks.

An invocation counts hours until its time is nearly up, and answers `left`: how many still wait. The
next one goes on with them. Of the event, `since` (`dt=2026-06-01/hour=00/`) looks at older hours
again; without it, an hour is looked at again for `OPEN_H` hours. `most` bounds how many hours are
counted: while some are left, weeks are not folded.
"""

from __future__ import annotations

import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config

from trends import hours, table
from trends.archive import OPEN_H, READS, Bucket

logger = Logger()

RESERVE_MS = 60_000
"""Kept for folding and writing."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    config = Config(
        connect_timeout=2,
        read_timeout=20,
        max_pool_connections=READS,
        retries={"total_max_attempts": 4, "mode": "standard"},
    )
    bucket = Bucket(
        boto3.client("s3", config=config),
        os.environ["DATA_BUCKET"],
        int(os.environ["SAMPLE_PERCENT"]),
    )
    city = bucket.city()
    if city is None:
        logger.info("no city is deployed")
        return {"hours": 0, "records": 0, "streets": 0, "left": 0}
    since = event.get("since")
    if not isinstance(since, str):
        newest = bucket.newest()
        since = hours.earlier(newest, OPEN_H) if newest else ""
    most = event.get("most")
    counted = records = left = 0
    for into, keys in bucket.stale(city.city, since):
        if counted == most or context.get_remaining_time_in_millis() < RESERVE_MS:
            left += 1
            continue
        records += bucket.count(city, into, keys)
        counted += 1
    if left and counted == most:
        return {"hours": counted, "records": records, "streets": 0, "left": left}
    weeks = hours.Weeks(city.city, os.environ["TIME_ZONE"])
    bucket.fold(weeks)
    dynamodb = boto3.client("dynamodb", config=config)
    index = weeks.index(round(time.time() * 1e3))
    streets = table.write(dynamodb, os.environ["TRENDS_TABLE"], weeks.streets(), index)
    answer = {"hours": counted, "records": records, "streets": streets, "left": left}
    logger.info("counted", extra={"since": since, "looks": weeks.looks, **answer})
    return answer
