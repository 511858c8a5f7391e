"""`fleet-sim bench tls`, small: every kind connects, comes back and is acknowledged."""

import msgspec
import pytest
from click.testing import CliRunner
from mosquitto import MOSQUITTO

from fleet_sim.cli import main
from fleet_sim.engine.bench.tls import Cost, tls_table

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


def test_every_kind_is_measured() -> None:
    words = ["bench", "tls", "-n", "5", "--messages", "4", "--rounds", "1", "--json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    costs = msgspec.json.decode(done.stdout, type=list[Cost])
    assert [(cost.kind, cost.resumed) for cost in costs] == [
        ("plain", 0),
        ("plain, alias", 0),
        ("TLS, full", 0),
        ("TLS, ticket", 1),
        ("WebSocket", 0),
    ]
    assert all(cost.connect_ms > 0 and cost.message_us > 0 for cost in costs)
    assert tls_table(costs).row_count == 5
