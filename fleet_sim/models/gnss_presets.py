"""Reception classes and receivers by name, each figure with its source."""

from dataclasses import dataclass

import numpy as np

ATM_SIGMA_M = 1.5
"""Of the atmospheric part, per axis (assumption: makes errors 50 m apart under open sky correlate
above 0.6)."""
ATM_TAU_S = 900.0
"""Lower end of the 900-2700 s published for tropospheric residuals (NAVIGATION)."""
ATM_REGION_M = 624e3
"""Side of the square at whose corners the atmosphere is drawn. It makes two places 100 km apart
differ by 0.67 m drms, the figure commonly quoted for differential GPS (assumption)."""
MP_SPACING_M = 33.0
"""Lattice spacing of the multipath field; gives a correlation length of about 30 m (assumption)."""
SCALE_SPACING_M = 100.0
"""Lattice spacing of the multipath's scale: about one block (assumption)."""
HOT_S = 4 * 3600.0
"""A receiver that lost the sky for less than this still knows the orbits (u-blox)."""
MAX_ACC_M = 10_000.0
"""`acc_m` never says more; 10 km is 'anywhere'."""


@dataclass(frozen=True, slots=True)
class Reception:
    """A class of sky view. All figures per axis, m, at the class's mean HDOP.

    The multipath's standard deviation at a place is `mp_median_m * exp(mp_log_sigma * g)` with `g`
    standard normal. Fitted by quadrature over `g` and a month of HDOP at 37.8° so that the class
    has its CEP50 and CEP95 (open: within 10 %).
    """

    name: str
    mask_deg: float
    """Elevation below which satellites are hidden, or not used: 5° is usual in receivers, the
    others are assumptions."""
    noise_m: float
    """Of the receiver's noise."""
    mp_median_m: float
    mp_log_sigma: float
    cep50_m: float
    cep95_m: float


RECEPTION = (
    # CEP targets are assumptions. Open sky is nearly Gaussian, which its 2/5 m is not: fitted to
    # 2.15/4.58 m, within 10 % of both.
    Reception("open", 5.0, 0.3, 1.020, 0.1, 2.0, 5.0),
    Reception("street", 20.0, 0.6, 3.083, 0.5099, 4.0, 12.0),
    Reception("canyon", 30.0, 1.0, 7.107, 0.5975, 8.0, 30.0),
)
OPEN, STREET, CANYON = range(3)
COVERED = 3
"""No sky at all: a tunnel, a garage. No errors of its own: see `gnss_reckoning`."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """A kind of receiver. `ValueError` for figures that mean nothing."""

    name: str
    noise_m: float
    """Per axis, on top of the reception class's noise."""
    noise_tau_s: float
    """Correlation time of all its noise."""
    hot_s: float
    """Median time to first fix less than `HOT_S` after the last one."""
    cold_s: float
    """Median time to first fix after that."""
    dead_reckoning: bool
    """Whether it goes on by wheel ticks and gyroscope when the sky is gone."""
    source: str

    def __post_init__(self) -> None:
        for field, value, low in (
            ("noise_m", self.noise_m, 0.0),
            ("noise_tau_s", self.noise_tau_s, np.nextafter(0.0, 1.0)),
            ("hot_s", self.hot_s, 0.0),
            ("cold_s", self.cold_s, self.hot_s),
        ):
            if not low <= value < np.inf:
                allowed = "above 0" if 0.0 < low < 1e-9 else f"{low:g} or more"
                raise ValueError(
                    f"receiver {self.name}: {field} {value!r} is out of range (allowed: {allowed})"
                )


_TIMES = "times to first fix: medians within u-blox's cold 26-29 s and hot 1-2 s"
_NOISE = "noise autocorrelated rather than white (Sensors 2020, 20(21):6050), its 5 s an assumption"

RECEIVERS: dict[str, Receiver] = {
    receiver.name: receiver
    for receiver in (
        Receiver(
            "automotive", 0.0, 5.0, 1.5, 27.0, dead_reckoning=True,
            source="CEP50 and CEP95 of the reception classes; dead reckoning: 25 m after 1 km or "
            f"better in 8 of 10 (Teltonika); {_TIMES}; {_NOISE}",
        ),
        Receiver(
            "ublox_m8", 1.090, 5.0, 1.5, 27.0, dead_reckoning=False,
            source=f"CEP50 2.5 m under open sky (u-blox M8); {_TIMES}; {_NOISE}",
        ),
        Receiver(
            "phone", 2.887, 5.0, 1.5, 27.0, dead_reckoning=False,
            source="CEP50 4 m under open sky, the middle of 3-5 m (Smartphone Decimeter "
            f"Challenge); {_TIMES}, without a network's help; {_NOISE}",
        ),
    )
}  # fmt: skip


def receiver(name: str) -> Receiver:
    """The receiver preset of this name; `ValueError` lists the known ones."""
    if name not in RECEIVERS:
        known = ", ".join(sorted(RECEIVERS))
        raise ValueError(f"receiver: {name!r} is not a preset (allowed: {known})")
    return RECEIVERS[name]
