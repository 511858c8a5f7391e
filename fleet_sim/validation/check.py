"""What a check of a model is: a claim with a target, and a way to measure it."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """What was measured."""

    measured: str
    """For people, with units."""
    passed: bool
    note: str = ""
    """Why it failed or why the target is believed wrong; empty otherwise."""


class Check(NamedTuple):
    """One claim about a model.

    `measure(scale)` takes a sample of `scale` times the full size, 0 < scale <= 1, from a fixed
    seed. `plot(axes)` draws what a person should look at on a matplotlib Axes.
    """

    id: str
    """`gnss.2`: the model and the number of the claim."""
    claim: str
    target: str
    """For people: the accepted range, and its source."""
    measure: Callable[[float], Outcome]
    plot: Callable[[Any], None] | None = None
