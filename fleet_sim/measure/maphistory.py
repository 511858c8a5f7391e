"""`map_history.json`: what the API said of each spot while the run went on, beside the truth.

One digit a spot and shot keeps an hour of a town in some hundred kB.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

STATES = ("free", "occupied", "unknown")
"""Of the truth and of an answer; a digit is `3 * truth + answer`."""

NOTHING = "8"
"""Neither the truth nor an answer is known."""


class Shot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All spots at one moment."""

    t_s: float
    """Wall seconds since the first phase began, when the API was asked."""
    states: Annotated[str, Meta(pattern="^[0-8]*$")]
    """One digit a spot, in the order of `map.json`."""


class MapHistory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    every_s: float
    """How long the shots are apart."""
    shots: list[Shot]
    """By time."""


class Tally(NamedTuple):
    """Counts of one shot, over the spots whose truth is known."""

    spots: int
    occupied: int
    """In truth."""
    api_occupied: int
    wrong: int
    unknown: int
    """Spots of which the API said nothing."""

    @property
    def accuracy(self) -> float:
        """Share of right answers among the known spots; NaN without one."""
        known = self.spots - self.unknown
        return (known - self.wrong) / known if known else float("nan")

    @property
    def coverage(self) -> float:
        """Share of spots that the API knows; NaN without a spot."""
        return 1 - self.unknown / self.spots if self.spots else float("nan")


def digits(truth: NDArray[np.int_], answer: NDArray[np.int_]) -> str:
    """`states` of arrays [spots] of indices into `STATES`."""
    return (3 * truth + answer + ord("0")).astype(np.uint8).tobytes().decode()


def tally(states: str) -> Tally:
    """Counts of a shot's `states`."""
    codes = np.frombuffer(states.encode(), np.uint8) - ord("0")
    counts = np.bincount(codes, minlength=9)[:6].reshape(2, 3)
    return Tally(
        spots=int(counts.sum()),
        occupied=int(counts[1].sum()),
        api_occupied=int(counts[:, 1].sum()),
        wrong=int(counts[0, 1] + counts[1, 0]),
        unknown=int(counts[:, 2].sum()),
    )


def joined(parts: Sequence[tuple[NDArray[np.intp], str]], spots: int) -> str:
    """`states` of all spots from those of some: `(indices, states)` each."""
    whole = np.full(spots, ord(NOTHING), np.uint8)
    for at, states in parts:
        whole[at] = np.frombuffer(states.encode(), np.uint8)
    return whole.tobytes().decode()


def from_json(data: bytes | str, spots: int) -> MapHistory:
    """`ValueError` names what is wrong; `spots`: how many `map.json` has."""
    try:
        history = msgspec.json.decode(data, type=MapHistory)
    except msgspec.DecodeError as error:
        raise ValueError(f"map_history.json: {error}") from None
    for i, shot in enumerate(history.shots):
        if len(shot.states) != spots:
            raise ValueError(
                f"map_history.json: shots[{i}] has {len(shot.states)} spots"
                f" (allowed: {spots}, as map.json has)"
            )
    return history
