"""The process of one contestant: `python -m fleet_sim.engine.bench.engine.child`, the task as JSON
on its standard input, the outcome as JSON on its standard output."""

import asyncio
import os
import resource
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import uvloop

from fleet_sim.engine.bench.engine.task import Outcome, Task


def _uvloop(drive: Callable[[Task], Coroutine[Any, Any, Outcome]], task: Task) -> Outcome:
    return uvloop.run(drive(task))


def _drive(task: Task) -> Outcome:
    # Imported one by one: what the others load would count as memory, and locust patches all.
    if task.contestant == "floor":
        from fleet_sim.engine.bench.engine import floor

        return _uvloop(floor.drive, task)
    if task.contestant in ("ours", "ours-fixed"):
        from fleet_sim.engine.bench.engine import ours

        return _uvloop(ours.drive, task)
    if task.contestant == "locust":
        from fleet_sim.engine.bench.engine import swarm

        return swarm.drive(task)
    from fleet_sim.engine.bench.engine import libraries

    if task.contestant == "awscrt":
        return libraries.awscrt(task)
    # On uvloop, aiomqtt sometimes stops reading its socket.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(libraries.aiomqtt(task))


def main() -> None:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    outcome = _drive(task)
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
    sys.stdout.flush()
    # Thousands of connections are not taken down one by one: the broker sees them go.
    os._exit(0)


if __name__ == "__main__":
    main()
