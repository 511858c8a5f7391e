"""Walks against SciPy on the same network, and the grid against looking at every street."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from api.walking import Walks, straight_m
from fleet_sim.contract import Segment, StreetNetwork
from fleet_sim.scenario import loads
from fleet_sim.world import build_cities

CITY = build_cities(
    loads(
        "name: walks\nseed: 9\ncity: {generate: {blocks: [5, 4]}}\n"
        "fleet: [{group: cars, count: 1}]\nphases: [{name: only, duration: 10s}]\n"
    )
)[0]
NETWORK = CITY.to_streets("c")
WALKS = Walks(NETWORK)


def test_from_crossing_to_crossing_it_is_the_shortest_way() -> None:
    n = len(NETWORK.nodes)
    ends = np.array([(s.tail, s.head) for s in NETWORK.segments])
    length = [straight_m(*NETWORK.nodes[a], *NETWORK.nodes[b]) for a, b in ends]
    graph = csr_array((length, (ends[:, 0], ends[:, 1])), shape=(n, n))
    truth = dijkstra(graph, directed=False)
    for start in range(0, n, 5):
        found = WALKS.distances_m(*NETWORK.nodes[start], NETWORK.nodes)
        assert found == pytest.approx(truth[start], abs=0.5)


def test_the_grid_finds_the_nearest_street() -> None:
    rng = np.random.default_rng(1)
    lats, lons = np.array(NETWORK.nodes).T
    margin = 0.003
    for lat, lon in zip(
        rng.uniform(lats.min() - margin, lats.max() + margin, 300),
        rng.uniform(lons.min() - margin, lons.max() + margin, 300),
        strict=True,
    ):
        place = WALKS.place(lat, lon)
        assert place is not None
        kx, ky = WALKS._kx, 111_195.0
        every = min(WALKS._onto(lon * kx, lat * ky, s.tail, s.head).off_m for s in NETWORK.segments)
        assert place.off_m == pytest.approx(every, abs=1e-6)


def test_on_the_same_street_one_walks_straight() -> None:
    street = NETWORK.segments[0]
    (lat1, lon1), (lat2, lon2) = NETWORK.nodes[street.tail], NETWORK.nodes[street.head]
    a = lat1 + 0.3 * (lat2 - lat1), lon1 + 0.3 * (lon2 - lon1)
    b = lat1 + 0.8 * (lat2 - lat1), lon1 + 0.8 * (lon2 - lon1)
    assert WALKS.distances_m(*a, [b]) == pytest.approx([straight_m(*a, *b)], abs=0.1)


def test_where_no_street_leads_it_is_straight() -> None:
    islands = StreetNetwork(
        "c",
        [(0.0, 0.0), (0.0, 0.001), (0.01, 0.0), (0.01, 0.001)],
        ["S"],
        [Segment(0, 1, 0), Segment(2, 3, 0)],
    )
    [walked] = Walks(islands).distances_m(0.0, 0.0, [(0.01, 0.001)])
    assert walked == pytest.approx(straight_m(0.0, 0.0, 0.01, 0.001))
    assert math.isfinite(walked)
    empty = Walks(StreetNetwork("c", [], [], []))
    assert empty.distances_m(0.0, 0.0, [(0.0, 0.001)]) == [straight_m(0.0, 0.0, 0.0, 0.001)]
