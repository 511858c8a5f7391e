"""Starting, finding and stopping the local AWS's process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import msgspec
import pytest
from gap_harness import ROLE, archive

from fleet_sim.cloud.local import Endpoints, LocalAws, LocalAwsError
from fleet_sim.cloud.local._processes import group_members, start_token, terminate_group
from fleet_sim.cloud.local.gaps import SKIP_VARIABLE

PARENT = """
import sys, time
from pathlib import Path
from fleet_sim.cloud.local import LocalAws
local = LocalAws(Path(sys.argv[1]))
endpoints = local.start()
print(endpoints.pid, endpoints.gateway_url, flush=True)
time.sleep(600)
"""


def with_a_lambda_worker(gateway_url: str) -> None:
    """Leaves a Lambda worker process behind."""
    functions = boto3.client(
        "lambda",
        endpoint_url=gateway_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    functions.create_function(
        FunctionName="f",
        Runtime="python3.12",
        Handler="code_under_test.handler",
        Role=ROLE,
        Code={"ZipFile": archive("def handler(event, context): return 1")},
    )
    functions.invoke(FunctionName="f")


def wait_until_gone(pid: int, within_s: float) -> None:
    until = time.monotonic() + within_s
    while group_members(pid):
        assert time.monotonic() < until, "processes are left"
        time.sleep(0.02)


def test_stopping_leaves_no_process_and_no_temporary_file(tmp_path: Path) -> None:
    told: list[str] = []
    with LocalAws(tmp_path, on_log=told.append) as local:
        endpoints = local.endpoints
        with_a_lambda_worker(endpoints.gateway_url)
        assert local.alive()
        assert len(group_members(endpoints.pid)) == 2
        assert Path(endpoints.ca_file).read_text().startswith("-----BEGIN CERTIFICATE")
    assert not local.alive()
    assert group_members(endpoints.pid) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iot-ca.pem", "local-aws.log"]
    assert "ready" in told[-2]
    assert "stopped" in told[-1]


def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid, gateway_url = parent.stdout.readline().split()
    with_a_lambda_worker(gateway_url)
    assert len(group_members(int(pid))) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone(int(pid), within_s=60)
    assert not (tmp_path / "tmp").exists()
    assert LocalAws.attach(tmp_path) is None


def test_an_interrupt_of_the_group_does_not_end_it(tmp_path: Path) -> None:
    with LocalAws(tmp_path) as local:
        assert os.getpgid(local.endpoints.pid) != os.getpgid(0)
        os.killpg(local.endpoints.pid, signal.SIGINT)
        time.sleep(0.3)
        assert local.alive()


def test_one_that_keeps_running_is_found_and_stopped(tmp_path: Path) -> None:
    assert LocalAws.attach(tmp_path) is None
    assert LocalAws.stop_running(tmp_path) is False
    with LocalAws(tmp_path, keep_running=True) as local:
        endpoints = local.endpoints
    try:
        assert LocalAws.attach(tmp_path) == endpoints
        with pytest.raises(LocalAwsError, match="already running"):
            LocalAws(tmp_path).start()
        with_a_lambda_worker(endpoints.gateway_url)
        assert LocalAws.stop_running(tmp_path) is True
        wait_until_gone(endpoints.pid, within_s=60)
        assert LocalAws.attach(tmp_path) is None
        assert not (tmp_path / "tmp").exists()
    finally:
        terminate_group(endpoints.pid, 0)


def test_another_process_with_its_number_is_not_taken_for_it(tmp_path: Path) -> None:
    token = start_token(os.getpid())
    assert token is not None
    endpoints = Endpoints("http://127.0.0.1:1", "127.0.0.1", 2, "ca", "r", "a", os.getpid())
    for written, found in ((token, endpoints), ("0" + token, None)):
        document = {"endpoints": endpoints, "start_token": written, "keep_running": True}
        (tmp_path / "endpoints.json").write_bytes(msgspec.json.encode(document))
        assert LocalAws.attach(tmp_path) == found


def test_a_start_that_fails_tells_the_end_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SKIP_VARIABLE, "no-such-gap")
    with pytest.raises(LocalAwsError, match="names no gap: no-such-gap"):
        LocalAws(tmp_path).start()
    assert not (tmp_path / "tmp").exists()


def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(LocalAwsError, match="not ready within"):
        LocalAws(tmp_path).start(timeout_s=0)
    assert not (tmp_path / "endpoints.json").exists()


def test_a_worker_of_a_killed_child_is_stopped_too(tmp_path: Path) -> None:
    local = LocalAws(tmp_path)
    pid = local.start().pid
    with_a_lambda_worker(local.endpoints.gateway_url)
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 60
    while local.alive():
        assert time.monotonic() < until, "it outlives SIGKILL"
        time.sleep(0.02)
    local.stop()
    assert group_members(pid) == []


def test_one_that_does_not_answer_is_killed(tmp_path: Path) -> None:
    local = LocalAws(tmp_path)
    pid = local.start().pid
    with_a_lambda_worker(local.endpoints.gateway_url)
    for member in group_members(pid):
        os.kill(member, signal.SIGSTOP)
    local.stop(timeout_s=0.2)
    assert group_members(pid) == []
