"""Shards on a Ray cluster of two nodes, one of which dies. `make scale`, where Ray is installed."""

import threading
import time
from pathlib import Path

import pytest
from mosquitto import MOSQUITTO, Mosquitto
from rich.console import Console
from test_run import environment

from fleet_sim.engine.options import Options
from fleet_sim.engine.run import run_scenario

pytestmark = [
    pytest.mark.scale,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]
ray = pytest.importorskip("ray", reason="Ray is not installed")

SCENARIO = """
name: nodes
seed: 3
city: {generate: {blocks: [5, 5], towns: 2}}
fleet:
  - {group: cars, count: 400, radio: none, telemetry: {period: 1s, qos: 1}, parked: 20%}
phases:
  - {name: only, duration: 25s}
"""


def test_a_dead_node_is_lost_load_and_the_other_one_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    # Nodes inherit these: no reports to anybody, and this package.
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    broker = Mosquitto(tmp_path)
    broker.start()
    # The head has the run's own process only: an actor a node is left for the other two.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    path = tmp_path / "nodes.yaml"
    path.write_text(SCENARIO)

    def kill_one() -> None:
        log = tmp_path / "run" / "log.jsonl"
        while not (log.exists() and b'"event":"phases"' in log.read_bytes()):
            time.sleep(0.1)
        time.sleep(5)
        cluster.remove_node(nodes[1], allow_graceful=False)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        options = Options(
            target=f"mqtt://{broker.host}:{broker.port}",
            shards="auto",
            cluster="ray",
            ray_address=cluster.address,
            out=tmp_path / "run",
        )
        with (tmp_path / "console.txt").open("w") as output:
            summary, _ = run_scenario(path, options, Console(file=output))
    finally:
        killer.join()
        cluster.shutdown()
        broker.stop()
    assert (summary.run.verdict, summary.run.exit_code) == ("generator_overloaded", 4)
    assert len(summary.generator.shards) == 2
    [dead] = [shard for shard in summary.generator.shards if shard.died]
    [survivor] = [shard for shard in summary.generator.shards if not shard.died]
    assert survivor.messages == survivor.sent == 200 * 25
    assert "and its 200 vehicles with it" in summary.run.reasons[0]
    assert "its ledger went with it" in summary.run.reasons[0]
    # From the schedule: what was due before its death, and nothing is said of its fate.
    assert 200 < dead.messages < 200 * 25
    assert summary.generator.not_offered == 200 * 25 - dead.messages
    assert summary.audit is not None
    assert summary.audit.dropped == {"shard_lost": dead.messages}
    assert (summary.audit.lost, summary.audit.unexplained) == (0, 0)
