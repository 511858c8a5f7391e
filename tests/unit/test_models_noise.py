import numpy as np
import pytest
from scipy import stats

from fleet_sim.models.noise import Noise

FLEET = np.arange(2_000)


def test_a_vehicles_numbers_do_not_depend_on_who_else_is_asked() -> None:
    noise = Noise(7)
    every, some = noise.at(FLEET, 12), noise.at(FLEET[5::3], 12)
    for _ in range(2):
        assert np.array_equal(
            every.standard_normal((2_000, 3))[5::3], some.standard_normal((665, 3))
        )
        assert np.array_equal(every.random((2_000, 20))[5::3], some.random((665, 20)))


def test_taken_rows_go_on_where_they_are() -> None:
    draws = Noise(7).at(FLEET, 12)
    draws.random((2_000, 5))
    rows = np.array([3, 1_000])
    part = draws.take(rows)
    assert np.array_equal(part.random((2, 4)), draws.random((2_000, 4))[rows])
    with pytest.raises(ValueError, match="2000 rows for 2 vehicles"):
        part.random((2_000, 1))


def test_another_seed_or_tick_gives_other_numbers() -> None:
    drawn = Noise(7).at(FLEET, 12).random((2_000, 4))
    assert np.array_equal(drawn, Noise(7).at(FLEET, 12).random((2_000, 4)))
    assert np.unique(drawn).size == drawn.size
    for other in (Noise(8).at(FLEET, 12), Noise(7).at(FLEET, 13)):
        assert not np.isin(other.random((2_000, 4)), drawn).any()


def test_numbers_are_uniform_normal_and_independent_along_every_axis() -> None:
    noise = Noise(42)
    ticks = [noise.at(FLEET, tick) for tick in range(10)]
    normal = np.stack([draws.standard_normal((2_000, 6)) for draws in ticks])
    uniform = np.stack([draws.random((2_000, 6)) for draws in ticks])
    assert stats.kstest(normal.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-3
    bound = 5 / np.sqrt(2_000 * 9)  # five standard deviations of a correlation of nothing
    for z in (normal, stats.norm.ppf(uniform)):
        for a, b in ((z[1:], z[:-1]), (z[:, 1:], z[:, :-1]), (z[:, :, 1:], z[:, :, :-1])):
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < bound
