"""The radio link: up or down (Gilbert-Elliott), and its round trip time.

Two states in continuous time. With the share of time down π and the mean outage 1/μ, the link
fails at the rate λ = μ π / (1 - π), and over any interval (NTIA TM-23-565 in discrete form)

    P(up → down) = π (1 - e^{-(λ+μ) dt}),   P(down → up) = (1 - π) (1 - e^{-(λ+μ) dt}).
"""

from dataclasses import dataclass

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class RadioPreset:
    """A mobile network as one vehicle sees it."""

    name: str
    rtt_median_s: float
    rtt_log_sigma: float
    """Standard deviation of ln(RTT)."""
    outage_share: float
    """Share of time the link is down, 0 to below 1."""
    outage_mean_s: float
    source: str


def transition_probabilities(
    outage_share: FloatArray, outage_mean_s: FloatArray, dt_s: float
) -> tuple[FloatArray, FloatArray]:
    """P(up → down) and P(down → up) over `dt_s`, each [n]."""
    recover = 1.0 / outage_mean_s
    fail = recover * outage_share / (1.0 - outage_share)
    mixed = -np.expm1(-(fail + recover) * dt_s)
    return outage_share * mixed, (1.0 - outage_share) * mixed


class RadioLinks:
    """The links of n vehicles. `up`: bool [n], stationary from the start."""

    def __init__(
        self,
        outage_share: FloatArray,
        outage_mean_s: FloatArray,
        rtt_median_s: FloatArray,
        rtt_log_sigma: FloatArray,
        rng: np.random.Generator,
    ) -> None:
        self._share = outage_share
        self._mean_s = outage_mean_s
        self._log_median = np.log(rtt_median_s)
        self._log_sigma = rtt_log_sigma
        self._rng = rng
        self._dt_s = 0.0
        self._p_fail = self._p_recover = np.zeros_like(outage_share)
        self.up: BoolArray = rng.random(outage_share.shape) >= outage_share

    def step(self, dt_s: float) -> None:
        if dt_s != self._dt_s:
            self._dt_s = dt_s
            self._p_fail, self._p_recover = transition_probabilities(
                self._share, self._mean_s, dt_s
            )
        draw = self._rng.random(self.up.shape)
        self.up = np.where(self.up, draw >= self._p_fail, draw < self._p_recover)

    def rtt_s(self, idx: IntArray) -> FloatArray:
        """A fresh lognormal round trip time for each vehicle of `idx`, s."""
        noise = self._rng.standard_normal(len(idx))
        return np.asarray(np.exp(self._log_median[idx] + self._log_sigma[idx] * noise))
