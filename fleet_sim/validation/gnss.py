"""Satellite positioning against published and stated statistics (`gnss.1` to `gnss.7`)."""

from typing import Any

import numpy as np
from scipy.stats import chi2

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.models.gnss import CANYON, OPEN, STREET
from fleet_sim.models.gnss_field import Atmosphere
from fleet_sim.models.gnss_presets import ATM_TAU_S, HOT_S, RECEIVERS, RECEPTION, receiver
from fleet_sim.validation._gnss_covered import garage, plot_garage, through_garage, times_to_fix_s
from fleet_sim.validation._gnss_receivers import FAR_M, build, count
from fleet_sim.validation.check import Check, Outcome


def _autocorrelation(series: FloatArray, lags: IntArray) -> FloatArray:
    """Of zero-mean series [t, k] at each lag, averaged over k."""
    power = (series * series).mean()
    return np.array([(series[lag:] * series[: len(series) - lag]).mean() / power for lag in lags])


def _decay(series: FloatArray, dt_s: float, tau_s: float) -> tuple[float, float, FloatArray]:
    """1/e time, autocorrelation at τ/2, and at 0, 0.05 τ, 0.1 τ ... 2 τ."""
    lags = np.round(np.arange(41) * 0.05 * tau_s / dt_s).astype(np.int64)
    acf = _autocorrelation(series, lags)
    below = int(np.argmax(acf < np.exp(-1)))
    part = (acf[below - 1] - np.exp(-1)) / (acf[below - 1] - acf[below])
    return float((below - 1 + part) * 0.05 * tau_s), float(acf[10]), acf


def _atmosphere(scale: float) -> FloatArray:
    """East and north of `b_atm` every 45 s, for 400 τ each in 30 cities at full size."""
    steps, here, series = count(8000, scale, 2000), np.zeros(1), []
    for seed in range(count(30, scale, 8)):
        atmosphere, found = Atmosphere(np.random.default_rng([seed, 6])), np.empty((steps, 2))
        for k in range(steps):
            atmosphere.step(ATM_TAU_S / 20)
            found[k] = atmosphere.at(here, here)[0]
        series.append(found)
    return np.concatenate(series, axis=1)


def _noise(scale: float) -> tuple[FloatArray, float]:
    """Unit noise of receivers that are looked at every τ/20: differences of two observations at
    one place and time leave only it."""
    n, tau_s = 2 * count(500, scale, 150), receiver("automotive").noise_tau_s
    gps = build(n, 5)
    idx, here, sky = np.arange(n), np.zeros(n), np.full(n, OPEN)
    found = np.empty((count(2000, scale, 600), n))
    for k in range(len(found)):
        gps.step(tau_s / 20)
        error = gps.observe(idx, here, here, sky).error_m
        found[k] = (error[: n // 2] - error[n // 2 :]).ravel()
    return found, tau_s


def decay(scale: float) -> Outcome:
    """gnss.1"""
    texts, passed = [], True
    noise, noise_tau_s = _noise(scale)
    for name, series, tau_s in (
        ("atmosphere", _atmosphere(scale), ATM_TAU_S),
        ("noise", noise, noise_tau_s),
    ):
        found_s, half, _ = _decay(series, tau_s / 20, tau_s)
        passed &= abs(found_s / tau_s - 1) <= 0.10 and abs(half - 0.61) <= 0.05
        texts.append(f"{name}: {found_s:.3g} s of {tau_s:g} s, ACF(τ/2) {half:.3f}")
    return Outcome("; ".join(texts), bool(passed))


def plot_decay(axes: Any) -> None:
    share = np.arange(41) * 0.05
    _, _, acf = _decay(_atmosphere(0.5), ATM_TAU_S / 20, ATM_TAU_S)
    axes.plot(share, acf, label="atmosphere, τ 900 s")
    noise, tau_s = _noise(0.5)
    axes.plot(share, _decay(noise, tau_s / 20, tau_s)[2], label=f"receiver noise, τ {tau_s:g} s")
    axes.plot(share, np.exp(-share), "k:", label="exp(-lag/τ)")
    axes.set(xlabel="lag / τ", ylabel="autocorrelation")
    axes.legend()


def radii(reception: int, scale: float, name: str = "automotive", dt_s: float = 0.0) -> FloatArray:
    """Horizontal errors at random places and times, in cities of their own fields. `dt_s` above 0:
    the time between epochs is walked in such steps, else it is jumped."""
    cities, epochs, points = count(12, scale, 4), count(1500, scale, 150), 20
    found = []
    for seed in range(cities):
        gps, rng = build(points, seed, name), np.random.default_rng([seed, 3])
        for _ in range(epochs):
            for _ in range(round(20.0 / dt_s) if dt_s else 0):
                gps.step(dt_s)
            # A part of a day that no whole number of days contains; the shared part is new.
            gps.step(11.37 * ATM_TAU_S)
            x, y = rng.uniform(0, FAR_M, (2, points))
            error = gps.observe(np.arange(points), x, y, np.full(points, reception)).error_m
            found.append(np.hypot(*error.T))
    return np.concatenate(found)


def ceps(scale: float) -> Outcome:
    """gnss.2"""
    texts, passed = [], True
    for i, target in enumerate(RECEPTION):
        cep50, cep95 = np.percentile(radii(i, scale), (50, 95))
        ratio = cep95 / cep50
        passed &= abs(cep50 / target.cep50_m - 1) <= 0.1 and abs(cep95 / target.cep95_m - 1) <= 0.1
        passed &= abs(ratio - 2.08) <= 0.1 if i == OPEN else i != CANYON or ratio > 2.5
        texts.append(f"{target.name} {cep50:.2f}/{cep95:.2f} m (ratio {ratio:.2f})")
    for name, cep_m in (("ublox_m8", 2.5), ("phone", 4.0)):
        cep50 = float(np.percentile(radii(OPEN, scale, name), 50))
        passed &= abs(cep50 / cep_m - 1) <= 0.1
        texts.append(f"{name} {cep50:.2f} m")
    return Outcome("; ".join(texts), bool(passed))


def plot_ceps(axes: Any) -> None:
    share = np.linspace(0.5, 99.5, 199)
    for i, target in enumerate(RECEPTION):
        (line,) = axes.plot(np.percentile(radii(i, 0.4), share), share, label=target.name)
        axes.plot((target.cep50_m, target.cep95_m), (50, 95), "o", color=line.get_color())
    axes.set(xlabel="horizontal error, m (dots: targets)", ylabel="share of fixes below, %")
    axes.set(xscale="log", xlim=(0.3, 60))
    axes.legend()


def whiteness(scale: float) -> Outcome:
    """gnss.3: Ljung-Box, 20 lags, each receiver for itself."""
    n, seconds, lags = count(200, scale, 40), 600, 20
    worst = {}
    for name in RECEIVERS:
        gps = build(n, 11, name)
        idx, rng = np.arange(n), np.random.default_rng(12)
        x, y = rng.uniform(0, FAR_M, (2, n))
        series = np.empty((seconds, n))
        for k in range(seconds):
            gps.step(1.0)
            series[k] = gps.observe(idx, x, y, np.full(n, STREET)).error_m[:, 0]
        series -= series.mean(axis=0)
        power = (series * series).sum(axis=0)
        rho = np.array(
            [(series[lag:] * series[:-lag]).sum(axis=0) / power for lag in range(1, lags + 1)]
        )
        left = (seconds - np.arange(1, lags + 1))[:, None]
        q = seconds * (seconds + 2) * (rho**2 / left).sum(axis=0)
        worst[name] = float(chi2.sf(q, lags).max())
    text = ", ".join(f"{name} {p:.1g}" for name, p in worst.items())
    return Outcome(f"largest p of {n} receivers each: {text}", max(worst.values()) < 0.01)


def _correlation(a: FloatArray, b: FloatArray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def neighbours(scale: float) -> Outcome:
    """gnss.4"""
    cities, epochs, points = count(8, scale, 3), count(300, scale, 100), 50
    near: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    canyon: list[list[FloatArray]] = [[], [], []]
    regional: list[list[FloatArray]] = [[], []]
    for seed in range(cities):
        gps, rng = build(2 * points, seed + 20), np.random.default_rng([seed, 4])
        idx, half = np.arange(2 * points), np.arange(points)
        for _ in range(epochs):
            gps.step(11.37 * ATM_TAU_S)
            x, y = rng.uniform(0, FAR_M, (2, points))
            two = gps.observe(idx, np.append(x, x + 50), np.append(y, y), np.full(2 * points, OPEN))
            near[0].append(two.error_m[:points])
            near[1].append(two.error_m[points:])
            for shared, east in zip(regional, (-50e3, 50e3), strict=True):
                shared.append(gps.atmosphere.at(np.array([east]), np.zeros(1)))
        x, y = rng.uniform(0, FAR_M, (2, 40 * points))
        for k in range(0, x.size, points):
            here, sky = (x[k : k + points], y[k : k + points]), np.full(points, CANYON)
            passes = []
            for east in (0.0, 0.0, 200.0):
                there = (here[0] + east, here[1])
                error = gps.observe(half, *there, sky).error_m
                # What the sky and the atmosphere share is taken out: multipath and noise remain.
                passes.append(
                    error - gps.hdop[CANYON] / gps.mean_hdop[CANYON] * gps.atmosphere.at(*there)
                )
                gps.step(600.0)
            for group, found in zip(canyon, passes, strict=True):
                group.append(found)
    open_sky = _correlation(np.concatenate(near[0]), np.concatenate(near[1]))
    first, again, far = (np.concatenate(group) for group in canyon)
    repeated, apart = _correlation(first, again), _correlation(first, far)
    gap = np.concatenate(regional[0]) - np.concatenate(regional[1])
    drms = float(np.sqrt((gap**2).sum(axis=1).mean()))
    passed = open_sky > 0.6 and repeated > 0.7 and abs(apart) < 0.2 and abs(drms / 0.67 - 1) < 0.1
    return Outcome(
        f"open sky, 50 m apart: {open_sky:.2f}; same canyon point after 10 min: {repeated:.2f}; "
        f"200 m on: {apart:.2f}; atmosphere over 100 km differs by {drms:.2f} m drms",
        bool(passed),
    )


def plot_neighbours(axes: Any) -> None:
    gps, rng = build(4000, 20), np.random.default_rng(4)
    x, y = rng.uniform(0, FAR_M, (2, 4000))
    apart = np.arange(0.0, 205.0, 5.0)
    sky = np.full(4000, CANYON)
    here, _ = gps.multipath(x, y, sky)
    rho = [_correlation(here, gps.multipath(x + d, y, sky)[0]) for d in apart]
    axes.plot(apart, rho, label="canyon")
    axes.plot(apart, np.exp(-apart / 30), "k:", label="exp(-d / 30 m)")
    axes.set(xlabel="distance, m", ylabel="correlation of the multipath")
    axes.legend()


def geometry(scale: float) -> Outcome:
    """gnss.5: fixes by HDOP in five classes of equal size; drms / HDOP in each."""
    texts, passed = [], True
    for sky, target in enumerate(RECEPTION):
        epochs, points = count(1500, scale, 500), 120
        hdop, square = [], []
        for seed in range(4):
            gps, rng = build(points, seed + 40), np.random.default_rng([seed, 5])
            for _ in range(epochs // 4):
                gps.step(11.37 * ATM_TAU_S)
                x, y = rng.uniform(0, FAR_M, (2, points))
                fixes = gps.observe(np.arange(points), x, y, np.full(points, sky))
                hdop.append(gps.hdop[sky])
                square.append((fixes.error_m**2).sum(axis=1).mean())
        order = np.argsort(hdop)
        uere = [
            np.sqrt(np.mean(np.array(square)[part]) / np.mean(np.array(hdop)[part] ** 2))
            for part in np.array_split(order, 5)
        ]
        off = np.array(uere) / np.mean(uere) - 1
        passed &= bool(np.abs(off).max() <= 0.10)
        low, high = np.percentile(hdop, (5, 95))
        texts.append(
            f"{target.name}: {np.mean(uere):.2f} m {off.min():+.1%} to {off.max():+.1%} "
            f"(HDOP {low:.2f}-{high:.2f})"
        )
    return Outcome("; ".join(texts), passed)


def any_step(scale: float) -> Outcome:
    """gnss.7"""
    n, rows = count(4000, scale, 1000), []
    for dt_s in (0.1, 1.0, 5.0):
        cep50, cep95 = np.percentile(radii(STREET, 0.5 * scale, dt_s=dt_s), (50, 95))
        atmosphere, ends = Atmosphere(np.random.default_rng(80)), []
        for _ in range(count(250, scale, 60)):
            ends.append(atmosphere.corners)
            for _ in range(round(450.0 / dt_s)):
                atmosphere.step(dt_s)
        rho = _correlation(np.array(ends[:-1]), np.array(ends[1:]))
        start, end = np.zeros((n, 2)), np.zeros((n, 2))
        for distance, gps in through_garage(n, 500.0, dt_s):
            end = gps.reckoning.error_m.copy()
            start = start if distance else end
        grown = np.percentile(np.hypot(*(end - start).T), 80)
        rows.append((cep50, cep95, rho, grown, np.median(times_to_fix_s(n, HOT_S, dt_s))))
    found = np.array(rows)
    off = np.abs(found / found[0] - 1.0).max(axis=0)
    names = ("CEP50", "CEP95", "ACF(450 s)", "8 of 10 reckoned over 500 m", "cold fix, whole steps")
    text = "; ".join(
        f"{name} {'/'.join(f'{v:.3g}' for v in column)}"
        for name, column in zip(names, found.T, strict=True)
    )
    return Outcome(text, bool((off <= (0.10, 0.10, 0.10, 0.10, 0.15)).all()))


CHECKS = (
    Check(
        "gnss.1",
        "Atmosphere and receiver noise forget as a Gauss-Markov process does",
        "1/e time within 10 % of τ, ACF(τ/2) 0.61 ± 0.05",
        decay,
        plot_decay,
    ),
    Check(
        "gnss.2",
        "Each reception class has its CEP50 and CEP95, each receiver its CEP50 under open sky",
        "open 2/5, street 4/12, canyon 8/30 m (assumptions), u-blox M8 2.5 m, phone 3-5 m "
        "(published), all ± 10 %; CEP95/CEP50 open 2.08 ± 0.1, canyon above 2.5",
        ceps,
        plot_ceps,
    ),
    Check(
        "gnss.3",
        "Errors at 1 Hz are not white",
        "Ljung-Box with 20 lags rejects whiteness for every receiver, p below 0.01",
        whiteness,
    ),
    Check(
        "gnss.4",
        "Neighbours err alike; multipath is a matter of place",
        "50 m apart under open sky above 0.6; the same canyon point 10 min later above 0.7; "
        "200 m on below 0.2; 0.67 m drms over 100 km ± 10 %",
        neighbours,
        plot_neighbours,
    ),
    Check(
        "gnss.5",
        "Errors are proportional to HDOP",
        "drms/HDOP within 10 % of its mean in five classes of HDOP",
        geometry,
    ),
    Check(
        "gnss.6",
        "Under a cover: no satellite fix, dead reckoning, time to first fix",
        "8 of 10 within 2.5 % ± 1 % of the distance (25 m after 1 km: Teltonika); error/acc_m "
        "within 15 %; medians 1.5 ± 0.15 s hot, 27 ± 1.5 s cold (u-blox)",
        garage,
        plot_garage,
    ),
    Check(
        "gnss.7",
        "Nothing depends on the step",
        "with steps of 0.1/1/5 s within 10 % of 0.1 s; first fix, met in whole steps, 15 %",
        any_step,
    ),
)
