"""GNSS errors must have the statistics that docs/models.md states."""

import numpy as np
import pytest

from fleet_sim.models import gnss
from fleet_sim.models.gnss import ATM_TAU_S, CANYON, OPEN, RECEPTION, GnssModel


def model(seed: int = 7) -> GnssModel:
    return GnssModel(np.random.default_rng(seed), np.random.default_rng(seed + 1))


def errors(reception: int, epochs: int = 2000, points: int = 50) -> np.ndarray:
    """Errors at random places, epochs far enough apart for the shared part to be new."""
    gps, rng = model(), np.random.default_rng(0)
    found = []
    for _ in range(epochs):
        gps.step(100 * ATM_TAU_S)
        x, y = rng.uniform(0, 12_000, (2, points))
        found.append(gps.observe(x, y, np.full(points, reception))[0])
    return np.concatenate(found)


@pytest.mark.parametrize("reception", range(3), ids=[r.name for r in RECEPTION])
def test_each_reception_class_has_its_cep(reception: int) -> None:
    radius = np.hypot(*errors(reception).T)
    target = RECEPTION[reception]
    assert np.percentile(radius, 50) == pytest.approx(target.cep50_m, rel=0.10)
    assert np.percentile(radius, 95) == pytest.approx(target.cep95_m, rel=0.10)


def test_open_sky_is_gaussian_and_a_canyon_is_heavy_tailed() -> None:
    ratio = {}
    for reception in (OPEN, CANYON):
        radius = np.hypot(*errors(reception).T)
        ratio[reception] = np.percentile(radius, 95) / np.percentile(radius, 50)
    assert ratio[OPEN] == pytest.approx(2.08, abs=0.1)
    assert ratio[CANYON] > 2.5


@pytest.mark.parametrize("parts", [1, 10, 100])
def test_gauss_markov_has_the_same_correlation_whatever_the_step(parts: int) -> None:
    rng = np.random.default_rng(3)
    start = 2.0 * rng.standard_normal(20_000)
    b = start
    for _ in range(parts):
        b = gnss.gauss_markov_step(b, 50.0 / parts, 100.0, 2.0, rng)
    assert np.corrcoef(start, b)[0, 1] == pytest.approx(np.exp(-0.5), abs=0.03)
    assert b.std() == pytest.approx(2.0, rel=0.03)


def test_two_vehicles_50_m_apart_under_open_sky_err_alike() -> None:
    gps, rng = model(), np.random.default_rng(1)
    a, b = [], []
    for _ in range(400):
        gps.step(100 * ATM_TAU_S)
        x, y = rng.uniform(0, 4000, (2, 20))
        both, _ = gps.observe(np.append(x, x + 50), np.append(y, y), np.full(40, OPEN))
        a.append(both[:20, 0])
        b.append(both[20:, 0])
    assert np.corrcoef(np.concatenate(a), np.concatenate(b))[0, 1] > 0.6


def test_multipath_repeats_at_a_place_and_not_200_m_on() -> None:
    gps, rng = model(), np.random.default_rng(2)
    x, y = rng.uniform(0, 4000, (2, 3000))
    canyon = np.full(3000, CANYON)
    first, _ = gps.observe(x, y, canyon)
    gps.step(600.0)
    again, _ = gps.observe(x, y, canyon)
    far, _ = gps.observe(x + 200, y, canyon)
    assert np.corrcoef(first[:, 0], again[:, 0])[0, 1] > 0.7
    assert abs(np.corrcoef(first[:, 0], far[:, 0])[0, 1]) < 0.2


def test_multipath_field_has_unit_variance_and_a_length_of_about_30_m() -> None:
    field = gnss.LatticeField(1, gnss.MP_SPACING_M, np.random.default_rng(5))
    x, y = np.random.default_rng(6).uniform(0, 4000, (2, 20_000))
    here = field.at(x, y)[:, 0]
    assert here.std() == pytest.approx(1.0, rel=0.05)
    near, mid, far = (np.corrcoef(here, field.at(x + d, y)[:, 0])[0, 1] for d in (5, 30, 80))
    assert near > 0.9
    assert mid == pytest.approx(np.exp(-1), abs=0.12)
    assert abs(far) < 0.1


def test_field_is_continuous_across_its_lattice_and_negative_coordinates() -> None:
    field = gnss.LatticeField(2, 33.0, np.random.default_rng(5))
    edge = np.array([-33.0, 0.0, 33.0, 33.0 * 128])
    before, after = field.at(edge - 1e-6, edge), field.at(edge + 1e-6, edge)
    assert np.abs(before - after).max() < 1e-4


def test_reported_accuracy_is_the_drms() -> None:
    gps, rng = model(), np.random.default_rng(4)
    x, y = rng.uniform(0, 12_000, (2, 20_000))
    for reception in (OPEN, CANYON):
        _, acc_m = gps.observe(x, y, np.full(x.size, reception))
        drms = np.sqrt((errors(reception) ** 2).sum(axis=1).mean())
        assert np.sqrt((acc_m**2).mean()) == pytest.approx(drms, rel=0.1)
