"""The laws of a link's outages: alternating Weibull renewal; Gilbert-Elliott is its special case.

Outages and the times between them are independent, Weibull with one shape k and means of their own
(k about 0.6: Karner et al., 2007, on UMTS links; many short ones, few very long ones). With k = 1
both are exponential, and the link is the two-state Markov chain of Gilbert and Elliott.
"""

from math import gamma, log1p

import numpy as np

from fleet_sim.models.arrays import FloatArray


def weibull(shape: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draws with mean 1, [n]; `shape` [n] is k."""
    return np.asarray(rng.standard_exponential(shape.shape) ** (1.0 / shape) / _mean(shape))


def weibull_residual(shape: FloatArray, rng: np.random.Generator) -> FloatArray:
    """What is left of a mean-1 interval that is met at a random time, [n].

    Such an interval is length-biased: `T^k` is then Gamma(1 + 1/k), and the time is uniform in it.
    """
    met = rng.standard_gamma(1.0 + 1.0 / shape) ** (1.0 / shape) / _mean(shape)
    return np.asarray(rng.random(shape.shape) * met)


def _mean(shape: FloatArray) -> FloatArray:
    """Mean of a Weibull with scale 1: Γ(1 + 1/k)."""
    kinds, where = np.unique(shape, return_inverse=True)
    return np.array([gamma(1.0 + 1.0 / k) for k in kinds])[where.ravel()]


def transition_probabilities(
    outage_share: float, outage_mean_s: float, dt_s: float
) -> tuple[float, float]:
    """Gilbert-Elliott in closed form: P(up → down) and P(down → up) over `dt_s`.

    With the share of time down π and the mean outage 1/μ the link fails at the rate
    λ = μ π / (1 - π), and (NTIA TM-23-565 in discrete form)

        P(up → down) = π (1 - e^{-(λ+μ) dt}),   P(down → up) = (1 - π) (1 - e^{-(λ+μ) dt}).

    The simulation does not use it: the checks hold its outages with k = 1 against it.
    """
    recover = 1.0 / outage_mean_s
    fail = recover * outage_share / (1.0 - outage_share)
    mixed = float(-np.expm1(-(fail + recover) * dt_s))
    return outage_share * mixed, (1.0 - outage_share) * mixed


def gilbert_elliott(p: float, r: float, slot_s: float) -> tuple[float, float]:
    """Share of time down and mean outage, s, of the chain that looks like (p, r) slot by slot.

    `p` and `r` are the chances that a link fails, or comes back, within a slot: π = p/(p+r), mean
    burst 1/r slots (NTIA TM-23-565). The chain in continuous time that has them is the inverse of
    `transition_probabilities`, so that no figure depends on the step. `ValueError` unless
    0 <= p, 0 < r and p + r < 1: no such chain exists beyond.
    """
    if not (p >= 0.0 and r > 0.0 and p + r < 1.0 and slot_s > 0.0):
        raise ValueError(
            f"gilbert_elliott: p {p!r}, r {r!r}, slot_s {slot_s!r} "
            "(allowed: p from 0, r and slot_s above 0, p + r below 1)"
        )
    both = -log1p(-(p + r)) / slot_s
    recover = both * r / (p + r)
    return p / (p + r), 1.0 / recover
