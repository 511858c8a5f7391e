"""Downloads of one update: one at a time, and again after a while when one breaks."""

from collections.abc import Callable
from typing import Literal

FETCH_TRIES = 10
"""Downloads in a row that break without a byte gained, or URLs that end so, before it fails."""
FETCH_BASE_S, FETCH_CAP_S = 2.0, 120.0
"""After the n-th in a row the next begins after U(0, min(cap, base * 2**n))."""

FetchEnd = Literal["complete", "broken", "expired"]


class Fetches:
    """Which download is under way, and when the next one begins. `uniform` draws from [0, 1)."""

    def __init__(self, uniform: Callable[[], float]) -> None:
        self.token = 0
        """Of the download under way; 0: none."""
        self.retry_s: float | None = None
        """When the next one begins; None: not by itself."""
        self._uniform = uniform
        self._last = 0
        self._failures = 0

    def begin(self) -> int:
        """Its token, which no other has."""
        self._last += 1
        self.token = self._last
        return self.token

    def ended(self) -> None:
        self.token = 0

    def gained(self) -> None:
        """Bytes came: whatever breaks now is the first in a row."""
        self._failures = 0

    def due(self, now_s: float) -> bool:
        """Whether the next one begins now; said once."""
        if self.retry_s is None or now_s < self.retry_s:
            return False
        self.retry_s = None
        return True

    def failed(self) -> bool:
        """One broke; whether it was one too many."""
        self._failures += 1
        return self._failures >= FETCH_TRIES

    def again(self, now_s: float) -> None:
        """Later, after a time that doubles with each failure in a row."""
        window = min(FETCH_CAP_S, FETCH_BASE_S * 2.0 ** (self._failures - 1))
        self.retry_s = now_s + window * self._uniform()

    def give_up(self) -> None:
        """Nothing is under way, and nothing comes by itself."""
        self.token = 0
        self.retry_s = None
