"""How many environments a function gets: here the difference from AWS is on purpose."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from gap_harness import GapAws, against_stock

from fleet_sim.cloud.local.gaps.lambda_scaling import WARM_LIMIT


@against_stock
def test_a_burst_queues_for_a_few_environments(aws: GapAws) -> None:
    source = """
import os, time
def handler(event, context):
    time.sleep(0.2)
    return os.getpid()
"""
    name = aws.function(source)

    def call(_: int) -> int:
        answer = aws.client("lambda").invoke(FunctionName=name, Payload=b"0")
        return int(json.loads(answer["Payload"].read()))

    aws.client("lambda")
    with ThreadPoolExecutor(WARM_LIMIT + 4) as pool:
        processes = set(pool.map(call, range(WARM_LIMIT + 4)))
    assert len(processes) <= WARM_LIMIT


def test_a_function_that_calls_itself_does_not_wait_for_itself(aws: GapAws) -> None:
    source = """
import boto3, json
functions = boto3.client("lambda")
def handler(event, context):
    if event == 0:
        return 0
    answer = functions.invoke(FunctionName=context.function_name, Payload=json.dumps(event - 1))
    return 1 + json.loads(answer["Payload"].read())
"""
    name = aws.function(source, Timeout=30)
    depth = WARM_LIMIT + 2
    answer = aws.client("lambda").invoke(FunctionName=name, Payload=json.dumps(depth))
    assert json.loads(answer["Payload"].read()) == depth
