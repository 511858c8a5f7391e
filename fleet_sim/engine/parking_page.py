"""The table of `fleet-sim bench parking`: which cases, and `docs/accuracy.md`."""

from collections.abc import Iterable, Sequence

from fleet_sim.engine.parking import (
    FIXES,
    FLOW_PER_H,
    GENERATED,
    LAST,
    MAP,
    MEAN,
    NO_DECAY,
    PERFECT,
    UNMATCHED,
    Case,
    Result,
)
from fleet_sim.measure.accuracy import MapScore

SHARES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
SPEEDS_KMH = (20.0, 50.0)
BUSY = (0.12, 0.24, 0.48)
"""As many passes as 3, 6 and 12 % of a street with 480 cars an hour, or 6 % of 240, 480 and 960."""


def cases(osm: Sequence[str] = (), *, quick: bool = False) -> list[tuple[Case, bool]]:
    """What is driven, and whether the map is scored without its parts too. `osm`: extracts."""
    if quick:
        return [(Case(hours=0.25, warm_up_h=0.25), True)]
    found = [(Case(penetration=share), share == 0.06) for share in (*SHARES, *BUSY)]
    found += [(Case(speed_kmh=speed), False) for speed in SPEEDS_KMH]
    for city in osm:
        found += [(Case(city=city, penetration=share), False) for share in (0.03, 0.06, 0.24)]
    return found


def rows(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """A heading, then a row a result and one a part left out."""
    table: list[tuple[str, ...]] = [
        (
            "city",
            "limit",
            "meant",
            "passes/h",
            "counts",
            "occupancy",
            "of perfect looks",
            "Brier",
            "calibration",
            "median age",
        )
    ]
    for result in results:
        score, perfect = result.scores[MAP], result.scores[PERFECT]
        case = result.case
        table.append(
            (
                "generated" if case.city == GENERATED else case.city.rpartition("/")[2],
                f"{case.speed_kmh:g} km/h",
                f"{case.penetration:.0%}",
                f"{result.passes_per_h:.1f}",
                _percent(score.counts),
                _percent(score.occupancy),
                f"{_percent(perfect.counts)}, {_percent(perfect.occupancy)}",
                f"{score.brier:.3f}",
                f"{score.calibration_error:.3f}",
                f"{result.median_age_s / 60:.1f} min",
            )
        )
    return table


def parts(result: Result) -> list[tuple[str, ...]]:
    """The map, and the map without each of its parts."""
    head = ("map", "counts", "occupancy", "Brier", "calibration", "called", "of those right")
    table: list[tuple[str, ...]] = [head]
    for name in (MAP, UNMATCHED, FIXES, NO_DECAY, LAST, MEAN, PERFECT):
        if name in result.scores:
            table.append((name, *_score(result.scores[name])))
    return table


def _score(score: MapScore) -> tuple[str, ...]:
    return (
        _percent(score.counts),
        _percent(score.occupancy),
        f"{score.brier:.3f}",
        f"{score.calibration_error:.3f}",
        _percent(score.answered),
        "–" if score.right is None else _percent(score.right),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def markdown(table: Sequence[tuple[str, ...]]) -> str:
    head, *body = table
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


AIMS = ((0.06, 0.95, 0.93), (0.03, None, 0.90))
"""Penetration, and the least counts and occupancy that were asked for."""


def verdicts(results: Iterable[Result]) -> list[str]:
    """Whether the generated city at 30 km/h is as right as was asked for, a line each."""
    lines = []
    for share, counts, occupancy in AIMS:
        for result in results:
            if result.case != Case(penetration=share):
                continue
            score, perfect = result.scores[MAP], result.scores[PERFECT]
            for what, aim, got, most in (
                ("counts", counts, score.counts, perfect.counts),
                ("occupancy", occupancy, score.occupancy, perfect.occupancy),
            ):
                if aim is not None:
                    verdict = "reached" if got >= aim else "not reached"
                    lines.append(
                        f"- {what} ≥ {aim:.0%} at {share:.0%}: {verdict}, {_percent(got)} "
                        f"(perfect looks: {_percent(most)})"
                    )
            verdict = "reached" if score.calibration_error < 0.05 else "not reached"
            lines.append(
                f"- calibration error < 0.05 at {share:.0%}: {verdict}, "
                f"{score.calibration_error:.3f}"
            )
    return lines


def page(results: Sequence[Result]) -> str:
    """`docs/accuracy.md`."""
    whole = next((result for result in results if UNMATCHED in result.scores), results[0])
    return f"""# How right the parking map is

Made by `fleet-sim bench parking --osm west-oakland.osm.bz2 --out docs/accuracy.md`: World →
telemetry → the processor's own logic → beliefs, against the truth every five minutes for an hour,
after an hour of warm-up. One seed a row; another seed moves a figure by a point or two. The models:
[models.md](models.md). What a run's report says is of the whole pipeline.

- All streets have reception class street and the row's limit; 65 % of the stalls are wanted, a car
  stays 2 h on average. The sensor model was calibrated in the generated city, with other seeds.
- *meant*: the fleet's share of {FLOW_PER_H} cars an hour (a quiet street, assumption); *passes/h*:
  what came of it, of a kerb with stalls. Beyond 6 % a row stands for a busier street: 24 % of
  {FLOW_PER_H} cars are 6 % of 480.
- *counts*: 1 - Σ |estimated - true| / Σ true of the occupied stalls of each segment and side.
  *occupancy*: share of all stalls that are as p > 0.5 says, those never seen included.
- *of perfect looks*: counts and occupancy of the same map if no look had ever been wrong. What is
  missing there has changed since the last pass, or was never passed.

{markdown(rows(results))}

What was asked for, in the generated city at 30 km/h:

{chr(10).join(verdicts(results))}

Where perfect looks fall short of an aim too, no processor reaches it with so few passes: it takes
more of them, a busier street or a larger fleet.

## What each part is worth

{whole.passes_per_h:.1f} passes an hour at {whole.case.speed_kmh:g} km/h. *no matching*: the
odometer joins a street's samples, and the mean of its fixes places them. *each fix by itself*: nor
that. *no decay*: old looks weigh as new ones do. *last look*:
the newest look alone. *mean of looks*: the share of looks that found a stall taken, its history.
*called*: stalls called free or occupied.

{markdown(parts(whole))}
"""
