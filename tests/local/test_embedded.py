"""The embedded broker as a process: it takes connections, ends with its parent, comes back."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from transport_bench import Bench, message, on_both_loops, until

from fleet_sim.engine.embedded import EmbeddedBroker

_PARENT = """
import sys, time
from fleet_sim.engine.embedded import EmbeddedBroker
broker = EmbeddedBroker(10)
broker.start()
print(broker.pid, flush=True)
time.sleep(600)
"""


@on_both_loops
async def test_it_acknowledges_and_comes_back_at_the_same_port(bench: Bench) -> None:
    broker = EmbeddedBroker(10)
    broker.start()
    try:
        bench.broker.port = port = broker.port
        transport = await bench.connected(3)
        for token in range(30):
            transport.publish(token % 3, message(token))
        await until(lambda: sorted(bench.seen.acked) == list(range(30)))
        broker.stop()
        assert not broker.alive()
        await until(lambda: transport.online == 0)
        transport.publish(0, message(30))
        broker.start()
        assert broker.port == port
        await until(lambda: 30 in bench.seen.acked)
        await transport.close(1.0)
    finally:
        broker.stop()


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # ended; whoever adopted it has not looked yet


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent_whatever_ended_that(how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        broker = int(parent.stdout.readline())
        assert not _gone(broker)
        parent.send_signal(how)
        parent.wait()
    assert _within(60.0, lambda: _gone(broker))
