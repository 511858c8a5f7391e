"""What satellite fixes are made of; their statistics: tests/sim/test_models_gnss_checks.py."""

import numpy as np
import pytest

from fleet_sim.models.gnss import CANYON, OPEN, RECEPTION, STREET, GnssModel
from fleet_sim.models.gnss_field import Atmosphere, LatticeFields, gauss_markov_step
from fleet_sim.models.gnss_presets import ATM_REGION_M, ATM_SIGMA_M, RECEIVERS, Receiver, receiver
from fleet_sim.models.gnss_sky import EPOCH_S, MAX_HDOP, hdop


def model(n: int, name: str = "automotive", seed: int = 7, lat: float = 37.8) -> GnssModel:
    rngs = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    return GnssModel((receiver(name),), np.zeros(n, dtype=np.int64), lat, *rngs)


@pytest.mark.parametrize("parts", [1, 10, 100])
def test_gauss_markov_has_the_same_correlation_whatever_the_step(parts: int) -> None:
    rng = np.random.default_rng(3)
    start = 2.0 * rng.standard_normal(20_000)
    b = start
    for _ in range(parts):
        b = gauss_markov_step(b, 50.0 / parts, 100.0, 2.0, rng)
    assert np.corrcoef(start, b)[0, 1] == pytest.approx(np.exp(-0.5), abs=0.03)
    assert b.std() == pytest.approx(2.0, rel=0.03)


def test_atmosphere_varies_alike_everywhere_and_is_another_far_away() -> None:
    x = np.array([0.0, 5e3, 300e3, -2 * ATM_REGION_M])
    here = np.array(
        [Atmosphere(np.random.default_rng(seed)).at(x, x / 2)[:, 0] for seed in range(3000)]
    )
    assert here.std(axis=0) == pytest.approx(np.full(4, ATM_SIGMA_M), rel=0.05)
    near, far, farthest = np.corrcoef(here.T)[0, 1:]
    assert near > 0.998
    assert 0.5 < far < 0.8
    assert farthest < far + 0.1


def test_fields_have_unit_variance_and_a_length_of_nine_tenths_of_their_spacing() -> None:
    fields = LatticeFields((33.0, 100.0), np.random.default_rng(5))
    x, y = np.random.default_rng(6).uniform(0, 12_000, (2, 20_000))
    here = fields.at(x, y)
    assert here.shape == (2, 20_000, 2)
    assert here.std(axis=1) == pytest.approx(np.ones((2, 2)), rel=0.05)
    for pair, spacing in enumerate((33.0, 100.0)):
        for channel in range(2):
            near, mid, far = (
                np.corrcoef(here[pair, :, channel], fields.at(x + d, y)[pair, :, channel])[0, 1]
                for d in (spacing / 7, 0.9 * spacing, 2.5 * spacing)
            )
            assert near > 0.9
            assert mid == pytest.approx(np.exp(-1), abs=0.12)
            assert abs(far) < 0.1
    assert abs(np.corrcoef(here.transpose(0, 2, 1).reshape(4, -1)) - np.eye(4)).max() < 0.05


def test_fields_are_continuous_across_their_lattice_and_negative_coordinates() -> None:
    fields = LatticeFields((33.0,), np.random.default_rng(5))
    edge = np.array([-33.0, 0.0, 33.0, 33.0 * 128, -33.0 * 128])
    before, after = fields.at(edge - 1e-6, edge), fields.at(edge + 1e-6, edge)
    assert np.abs(before - after).max() < 1e-4
    period = 33.0 * 128
    assert fields.at(edge + 5, edge) == pytest.approx(fields.at(edge + 5 - period, edge + period))


def test_satellites_are_as_many_as_over_a_city_and_fewer_behind_buildings() -> None:
    times = np.arange(0.0, 86_164.0, 600.0)
    found, count = hdop(37.8, times, np.array([5.0, 30.0, 85.0]))
    assert 12 < count[:, 0].mean() < 20
    assert 5 <= count[:, 1].min() <= count[:, 1].max() < 13
    assert 0.5 < found[:, 0].min() < found[:, 0].max() < 1.1
    assert (found[:, 1] > found[:, 0]).all()
    assert (found[:, 2] == MAX_HDOP).all()


def test_geometry_is_a_function_of_time_alone() -> None:
    one, two = model(1), model(1)
    for _ in range(130):
        one.step(0.5)
    two.step(65.0)
    assert (one.hdop == two.hdop).all()
    two.step(EPOCH_S)
    assert (one.hdop != two.hdop).any()


def test_a_pass_repeats_its_multipath_and_each_receiver_has_its_own_noise() -> None:
    gps, idx = model(2), np.arange(2)
    here, sky = np.full(2, 123.0), np.full(2, CANYON)
    first = gps.observe(idx, here, here, sky)
    assert (gps.observe(idx, here, here, sky).error_m == first.error_m).all()
    assert 0 < np.abs(first.error_m[0] - first.error_m[1]).max() < 8
    bias, _ = gps.multipath(here, here, sky)
    gps.step(60.0)
    assert (gps.multipath(here, here, sky)[0] == bias).all()
    assert (gps.observe(idx, here, here, sky).error_m != first.error_m).all()


def test_vehicles_far_apart_have_another_atmosphere() -> None:
    """422.4 km apart the multipath is the same, by the periods of its fields."""
    apart = {}
    for east in (0.0, 422_400.0):
        gps, sky = model(2), np.full(2, OPEN)
        x, y = np.array([-east / 2, east / 2]), np.zeros(2)
        found = []
        for _ in range(300):
            gps.step(10_233.0)
            found.append(np.diff(gps.observe(np.arange(2), x, y, sky).error_m, axis=0)[0])
        apart[east] = np.std(found)
    assert apart[0.0] < 0.6
    assert apart[422_400.0] > 1.2


def test_who_looks_rarely_sees_the_same_noise_as_who_looks_often() -> None:
    n = 4000
    gps, idx, here = model(n), np.arange(n), np.zeros(n)
    sky = np.full(n, OPEN)
    start = gps.observe(idx, here, here, sky).error_m
    for _ in range(10):
        gps.step(0.5)
        gps.observe(idx[: n // 2], here[: n // 2], here[: n // 2], sky[: n // 2])
    end = gps.observe(idx, here, here, sky).error_m
    for part in (slice(None, n // 2), slice(n // 2, None)):
        rho = np.corrcoef(start[part, 0], end[part, 0])[0, 1]
        assert rho == pytest.approx(np.exp(-1), abs=0.05)


@pytest.mark.parametrize("name", RECEIVERS)
@pytest.mark.parametrize("sky", range(3), ids=[r.name for r in RECEPTION])
def test_reported_accuracy_is_the_drms(name: str, sky: int) -> None:
    gps, rng = model(200, name), np.random.default_rng(4)
    square, reported = [], []
    for _ in range(400):
        gps.step(10_233.0)
        x, y = rng.uniform(0, 12_000, (2, 200))
        fixes = gps.observe(np.arange(200), x, y, np.full(200, sky))
        assert (fixes.fix == 2).all()
        square.append((fixes.error_m**2).sum(axis=1).mean())
        reported.append((fixes.acc_m**2).mean())
    assert np.mean(square) == pytest.approx(np.mean(reported), rel=0.1)


def test_same_seed_same_errors_and_observing_does_not_move_the_atmosphere() -> None:
    one, two = model(3), model(3)
    here = np.arange(3.0)
    for _ in range(20):
        two.observe(np.arange(3), here, here, np.full(3, STREET))
        one.step(0.1)
        two.step(0.1)
    assert (one.atmosphere.corners == two.atmosphere.corners).all()
    again = model(3)
    assert (again.observe(np.arange(3), here, here, np.full(3, STREET)).error_m).tolist() == (
        model(3).observe(np.arange(3), here, here, np.full(3, STREET)).error_m
    ).tolist()


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"receiver: 'sextant' is not a preset \(allowed: auto.*m8"
    ):
        receiver("sextant")
    with pytest.raises(ValueError, match=r"lat_deg 91.0 is out of range \(allowed: -90..90\)"):
        model(1, lat=91.0)
    for field, value, allowed in (
        ("noise_m", -1.0, "0 or more"),
        ("noise_tau_s", 0.0, "above 0"),
        ("cold_s", 1.0, "2 or more"),
        ("hot_s", float("nan"), "0 or more"),
    ):
        figures = {"noise_m": 0.0, "noise_tau_s": 5.0, "hot_s": 2.0, "cold_s": 30.0, field: value}
        with pytest.raises(ValueError, match=rf"receiver r: {field} {value}.*\(allowed: {allowed}"):
            Receiver("r", **figures, dead_reckoning=False, source="")
