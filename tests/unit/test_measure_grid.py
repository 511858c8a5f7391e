"""Latencies counted by slot and bin, held against NumPy's own percentiles."""

import numpy as np
import pytest

from fleet_sim.measure import grid

MS = 1_000_000


def test_quantiles_are_within_the_bins_width() -> None:
    latency = np.random.default_rng(1).lognormal(3, 1.5, 40_000) * MS
    counted = grid.empty(1)
    grid.add(counted, np.zeros(len(latency), np.int64), latency.astype(np.int64))
    shares = np.array([0.01, 0.5, 0.95, 0.99, 0.999])
    found = grid.quantiles_ms(counted.counts.astype(float), shares)[0]
    assert found == pytest.approx(np.quantile(latency, shares) / MS, rel=0.006)


def test_every_latency_lies_between_the_edges_of_its_bin() -> None:
    latency = np.array([0, 999, 1000, 1001, 17 * MS, grid.HIGHEST_US * 1000])
    bins, edges = grid.bins_of(latency), grid.edges_ms()
    assert (edges[bins] <= latency / MS).all()
    assert (latency / MS < edges[bins + 1]).all()
    assert bins.max() < grid.BINS


def test_what_is_no_latency_is_counted_apart() -> None:
    counted = grid.empty(3)
    slots = np.array([0, 2, 2, 1])
    grid.add(counted, slots, np.array([-1, 5 * MS, grid.HIGHEST_US * 1000 + 1, 7 * MS]))
    assert counted.left_out.tolist() == [1, 0, 1]
    assert counted.counts.sum(axis=1).tolist() == [0, 1, 1]
    assert np.isnan(grid.quantiles_ms(counted.counts.astype(float), np.array([0.5]))[0]).all()
