"""The embedded broker's configuration."""

import tomllib

import pytest

from fleet_sim.engine.embedded import MEMORY_BYTES, configuration


@pytest.mark.parametrize("connections", [0, 1, 100, 2_000, 50_000])
def test_what_the_broker_keeps_is_bounded(connections: int) -> None:
    router = tomllib.loads(configuration("127.0.0.1", 1883, connections))["router"]
    kept = connections * router["max_segment_count"] * router["max_segment_size"]
    assert kept <= max(MEMORY_BYTES, connections * 32 * 1024)
    assert router["max_segment_size"] >= 16 * 1024  # some tens of messages a topic
    assert router["max_connections"] > connections


def test_it_listens_on_the_address_that_it_is_given() -> None:
    (listener,) = tomllib.loads(configuration("127.0.0.1", 4_321, 1))["v5"].values()
    assert listener["listen"] == "127.0.0.1:4321"
