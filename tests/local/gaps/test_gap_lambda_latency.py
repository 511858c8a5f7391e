"""Running Python Lambda functions."""

from __future__ import annotations

import base64
import json
from typing import Any

from gap_harness import GapAws, against_stock


def invoke(aws: GapAws, name: str, event: object = None) -> tuple[Any, str | None, str]:
    """(what it returned or its error document, kind of error, the log's tail)."""
    answer = aws.client("lambda").invoke(
        FunctionName=name, Payload=json.dumps(event), LogType="Tail"
    )
    log = base64.b64decode(answer.get("LogResult", "")).decode()
    return json.loads(answer["Payload"].read()), answer.get("FunctionError"), log


@against_stock
def test_an_exception_is_named_and_leaves_the_environment_warm(aws: GapAws) -> None:
    name = aws.function(
        """
import os

class Poison(Exception):
    pass

def handler(event, context):
    if event:
        raise Poison("no good")
    return os.getpid()
"""
    )
    before, _, _ = invoke(aws, name)
    error, kind, log = invoke(aws, name, 1)
    after, _, _ = invoke(aws, name)
    assert kind == "Unhandled"
    assert (error["errorType"], error["errorMessage"]) == ("Poison", "no good")
    assert any("code_under_test.py" in line for line in error["stackTrace"])
    assert error["requestId"]
    assert "Poison: no good" in log
    assert before == after


@against_stock
def test_only_the_archive_and_the_runtime_can_be_imported(aws: GapAws) -> None:
    good = aws.function("import boto3, json\ndef handler(e, c): return boto3.__name__")
    assert invoke(aws, good)[0] == "boto3"
    for absent in ("msgspec", "fleet_sim", "pytest"):
        name = aws.function(f"import {absent}\ndef handler(e, c): return 1")
        error, kind, _ = invoke(aws, name)
        assert kind == "Unhandled"
        assert error["errorType"] == "Runtime.ImportModuleError"
        assert f"No module named '{absent}'" in error["errorMessage"]


@against_stock
def test_the_root_logger_writes_the_request_id(aws: GapAws) -> None:
    source = """
import logging
logging.getLogger().setLevel(logging.INFO)
def handler(event, context):
    logging.info("told")
    return context.aws_request_id
"""
    request_id, _, log = invoke(aws, aws.function(source))
    assert f"\t{request_id}\ttold" in log
    assert log.startswith("[INFO]\t")


def test_each_invocation_gets_its_own_output(aws: GapAws) -> None:
    source = """
import os, sys
def handler(event, context):
    print("out", event)
    os.system("echo child")
    sys.stdout.write("no newline")
"""
    name = aws.function(source)
    for number in range(3):
        _, _, log = invoke(aws, name, number)
        assert f"out {number}" in log
        assert "child" in log
        assert "no newline" in log
        assert f"out {number - 1}" not in log
        assert "\x1e" not in log


def test_a_timeout_ends_the_environment(aws: GapAws) -> None:
    source = "import time\ndef handler(event, context): time.sleep(event)"
    name = aws.function(source, Timeout=4)
    error, kind, _ = invoke(aws, name, 60)
    assert (kind, error["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert "Task timed out after 4.00 seconds" in error["errorMessage"]
    assert invoke(aws, name, 0)[1] is None


@against_stock
def test_an_exit_is_reported_as_one(aws: GapAws) -> None:
    name = aws.function("import os\ndef handler(event, context): os._exit(3)")
    error, _, _ = invoke(aws, name)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith("Runtime exited with error: exit status 3")


@against_stock
def test_a_result_that_is_no_json_is_a_marshal_error(aws: GapAws) -> None:
    name = aws.function("def handler(event, context): return {1, 2}")
    error, _, _ = invoke(aws, name)
    assert error["errorType"] == "Runtime.MarshalError"
    assert invoke(aws, name)[0]["errorType"] == "Runtime.MarshalError"


def test_the_context_tells_the_time_left(aws: GapAws) -> None:
    source = "def handler(e, c): return [c.get_remaining_time_in_millis(), c.function_name]"
    name = aws.function(source, Timeout=70)
    left_ms, named = invoke(aws, name)[0]
    assert 50_000 < left_ms <= 70_000
    assert named == name


@against_stock
def test_an_environment_writes_to_the_log_stream_it_is_told(aws: GapAws) -> None:
    source = """
def handler(event, context):
    print("hello", event)
    if event == 2:
        raise ValueError("logged too")
    return [context.log_group_name, context.log_stream_name]
"""
    name = aws.function(source)
    (group, stream), _, _ = invoke(aws, name, 1)
    invoke(aws, name, 2)
    assert invoke(aws, name, 3)[0] == [group, stream]
    logs = aws.client("logs")
    (found,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert found["logStreamName"] == stream
    events = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
    lines = [event["message"] for event in events["events"]]
    assert [line.split(" ")[0] for line in lines if line[:2] in ("ST", "EN", "RE")] == [
        *("START", "END", "REPORT") * 3
    ]
    assert lines[1] == "hello 1"
    assert any("ValueError: logged too" in line for line in lines)
