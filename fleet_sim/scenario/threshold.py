"""A threshold with more to say than its condition."""

from typing import Annotated

from msgspec import Meta, field

from fleet_sim.scenario.strict import Strict
from fleet_sim.scenario.units import Duration


class Threshold(Strict, frozen=True, kw_only=True):
    """A condition that may end the run as soon as it does not hold."""

    threshold: Annotated[str, Meta(min_length=1)]
    """The condition, in k6's syntax: `p(95)<2000`."""
    abort_on_fail: bool = False
    """End the run as soon as the condition does not hold, on what was measured so far."""
    delay_s: Duration = field(name="delay", default=Duration.parse("0s"))
    """Simulated time from the beginning of the first phase before which it does not end the run."""
