"""Who begins to connect when: the same for every kind of client.

A vehicle that was never connected begins at `connect_rate` over all of them; one that comes back
does when its backoff says. Neither begins without a radio, nor while as many handshakes are under
way as may be.
"""

from collections import deque
from collections.abc import Callable, Sequence

from fleet_sim.transport.settings import LinkSettings
from fleet_sim.vehicle import Session


def sessions_of(
    settings: LinkSettings, vehicles: int, uniform: Callable[[], float]
) -> list[Session]:
    """A session for each vehicle, as `settings` say."""
    return [
        Session(
            uniform,
            backoff=settings.backoff,
            window=settings.window,
            store_limit=settings.store_limit,
        )
        for _ in range(vehicles)
    ]


class Starts:
    """Attempts of the vehicles that have `sessions`. `begin` starts one, `under_way` says how many
    have begun and not ended, and `busy` of a vehicle whether its last one has yet to end."""

    def __init__(
        self,
        settings: LinkSettings,
        sessions: Sequence[Session],
        begin: Callable[[int], None],
        under_way: Callable[[], int],
        busy: Callable[[int], bool],
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._begin = begin
        self._under_way = under_way
        self._busy = busy
        self._wanted = bytearray(len(sessions))
        self._held = bytearray(len(sessions))
        self._queued = bytearray(len(sessions))  # is in one of the two below
        # Vehicles whose attempt is due, oldest first.
        self._new: deque[int] = deque()
        self._returning: deque[int] = deque()
        self._tokens = 0.0  # attempts of new ones that the rate allows now

    def open(self, i: int) -> None:
        """Vehicle i is to be connected from now on."""
        if not self._wanted[i]:
            self._wanted[i] = 1
            self.enqueue(i)

    def hold(self, i: int) -> None:
        """There is no radio: attempts wait for `let_go`."""
        self._held[i] = 1

    def held(self, i: int) -> bool:
        return bool(self._held[i])

    def let_go(self, i: int, *, idle: bool) -> None:
        """The radio is back. `idle`: neither connected nor connecting, and no backoff runs: its
        attempt came due while there was no radio."""
        self._held[i] = 0
        if self._wanted[i] and idle:
            self.enqueue(i)

    def enqueue(self, i: int) -> None:
        """The attempt of vehicle i is due."""
        if not self._queued[i] and not self._held[i]:
            self._queued[i] = 1
            (self._new if self._sessions[i].fresh else self._returning).append(i)

    def pass_time(self, seconds: float) -> None:
        """To be called again and again: what has become due begins."""
        allowance = self._settings.connect_rate * seconds
        self._tokens = min(max(1.0, allowance), self._tokens + allowance)
        self.begin_due()

    def begin_due(self) -> None:
        """Begin attempts that are due, as many as the rate and the handshakes under way allow."""
        for _ in range(len(self._returning)):
            if not self._begin_next(self._returning):
                break
        while self._new and self._tokens >= 1.0:
            before = self._under_way()
            if not self._begin_next(self._new):
                break
            self._tokens -= self._under_way() - before

    def _begin_next(self, due: deque[int]) -> bool:
        """Begin the attempt that is due longest, or not while the radio is away; False when none
        may begin now."""
        if self._under_way() >= self._settings.connect_concurrency:
            return False
        i = due.popleft()
        if self._busy(i):
            due.append(i)
            return False
        self._queued[i] = 0
        if not self._held[i]:  # else `let_go` brings it back
            self._begin(i)
        return True
