"""The child process: MiniStack with this package's corrections, on loopback.

Run as `python -m fleet_sim.cloud.local.server STATE_DIR (--parent PID | --keep-running)`.
Writes `STATE_DIR/endpoints.json` when every API and the MQTT listener accept connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from fleet_sim.cloud.local._launcher import ENDPOINTS_FILE, TMP_DIR, Running
from fleet_sim.cloud.local._processes import start_token
from fleet_sim.cloud.local._types import Endpoints

HOST = "127.0.0.1"
REGION = "us-east-1"
ACCOUNT_ID = "000000000000"
_PARENT_POLL_S = 0.25

log = logging.getLogger("fleet_sim.local")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fleet_sim.cloud.local.server")
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("--enforce-iam", action="store_true")
    life = parser.add_mutually_exclusive_group(required=True)
    life.add_argument("--parent", type=int, help="end when this process is gone")
    life.add_argument("--keep-running", action="store_true")
    arguments = parser.parse_args()

    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    log.setLevel(logging.INFO)
    # Ctrl-C is for whoever started us to decide about.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if arguments.parent is not None:
        _end_with_parent(arguments.parent, arguments.state_dir)

    gateway = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    gateway.bind((HOST, 0))
    _configure(gateway.getsockname()[1], arguments.enforce_iam)
    _raise_descriptor_limit()

    from fleet_sim.cloud.local.gaps import skipped

    # The stock listener's handshakes hang under uvloop.
    with asyncio.Runner(loop_factory=None if "listener" in skipped() else _uvloop) as runner:
        runner.run(_serve(gateway, arguments.state_dir, arguments.keep_running))


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def _end_with_parent(parent: int, state_dir: Path) -> None:
    """Ends the whole process group as soon as `parent` is no longer our parent.

    Watching the parent's number rather than a pipe: processes the parent forks would hold the
    pipe open. Watching by thread rather than PR_SET_PDEATHSIG: that fires when the *thread* that
    started us ends.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_S)
        log.warning("the process that started the local AWS is gone: ending")
        _end(state_dir)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _end(state_dir: Path) -> None:
    """Removes what is on disk and kills this process and its workers. Does not return."""
    (state_dir / ENDPOINTS_FILE).unlink(missing_ok=True)
    shutil.rmtree(state_dir / TMP_DIR, ignore_errors=True)
    logging.shutdown()
    # The group is ours alone (we were started in a new session), so this ends the Lambda workers
    # too, whatever state they are in, and there is no state to save.
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _configure(port: int, enforce_iam: bool) -> None:
    """MiniStack reads its configuration from the environment when it is imported."""
    os.environ.update(
        GATEWAY_PORT=str(port),
        BIND_HOST=HOST,
        MINISTACK_HOST="localhost",
        MINISTACK_REGION=REGION,
        MINISTACK_ACCOUNT_ID=ACCOUNT_ID,
        LOG_LEVEL="WARNING",
        # The port is the listener's own choice; see gaps/listener.py.
        IOT_MTLS_ENABLED="1",
        SFTP_ENABLED="0",
        # AWS's default concurrency of an account.
        LAMBDA_ACCOUNT_CONCURRENCY="1000",
        AUTH="true" if enforce_iam else "false",
    )


def _raise_descriptor_limit() -> None:
    """Every vehicle is a descriptor; the soft limit is usually 1024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(gateway: socket.socket, state_dir: Path, keep_running: bool) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    from fleet_sim.cloud.local import gaps

    app = gaps.load()
    config = Config()
    config.bind = [f"fd://{gateway.detach()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    config.accesslog = None

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as tasks:
        server = tasks.create_task(serve(app, config, shutdown_trigger=_never))
        await _announce(server, state_dir, keep_running)
        await stop.wait()
        log.info("stopping")
        _end(state_dir)


async def _never() -> None:
    await asyncio.Event().wait()


async def _announce(server: asyncio.Task[Any], state_dir: Path, keep_running: bool) -> None:
    """Waits for both listeners and writes `endpoints.json`, which is what the launcher awaits."""
    from fleet_sim.cloud.local.gaps import readiness

    port = int(os.environ["GATEWAY_PORT"])
    while (listening := readiness()) is None or not await _accepts(port):
        if server.done():
            # The task group raises the server's own exception.
            raise RuntimeError("the API gateway ended while starting")
        await asyncio.sleep(0.01)
    ca_file = state_dir / "iot-ca.pem"
    ca_file.write_text(listening.ca_pem)
    token = start_token(os.getpid())
    if token is None:
        raise RuntimeError("cannot read this process's start time")
    running = Running(
        endpoints=Endpoints(
            gateway_url=f"http://{HOST}:{port}",
            mqtt_host=HOST,
            mqtt_port=listening.mqtt_port,
            ca_file=str(ca_file),
            region=REGION,
            account_id=ACCOUNT_ID,
            pid=os.getpid(),
        ),
        start_token=token,
        keep_running=keep_running,
    )
    partial = state_dir / f"{ENDPOINTS_FILE}.partial"
    partial.write_bytes(msgspec.json.encode(running))
    partial.replace(state_dir / ENDPOINTS_FILE)


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


if __name__ == "__main__":
    main()
