"""All shards of a run as one: starts them together, adds them up, and outlives those that die."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fleet_sim.engine.clock import Clock
from fleet_sim.engine.hosts import Host, ShardLostError, WorkerError
from fleet_sim.engine.leavings import Driven, Leavings, merge
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.engine.status import Status, reasons_text, total
from fleet_sim.transport import ConnectError

LEAD_S = 0.3
"""From the order to begin to the first phase, so that every shard has had it by then."""
SILENT_S = 60.0
"""A shard that is not heard of for so long counts as lost."""
_CLOSING_S = 60.0
"""How long a shard may take to write down what it measured."""


class Loss(NamedTuple):
    """A shard that died."""

    why: str
    at_ns: int


class Supervisor:
    """`hosts`: one a shard, in order; `name`: the scenario's, for errors. `on_lost` hears of each
    that dies, in a sentence."""

    def __init__(
        self,
        hosts: Sequence[Host],
        clock: Clock,
        name: str = "scenario",
        on_lost: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.hosts = list(hosts)
        self.clock = clock
        self.vehicles = sum(host.share.n for host in hosts)
        self.t0_ns = 0
        """When the first phase began, ns since the epoch; 0 before."""
        self.end_ns = 0
        """When the last shard's phases ended; 0 before."""
        self.connected_at_start = 0
        self.losses: dict[int, Loss] = {}
        """By shard."""
        self.silent_s = SILENT_S
        self._scenario = name
        self.on_lost = on_lost

    # -- how it goes ------------------------------------------------------------------------------

    @property
    def living(self) -> list[Host]:
        return [host for host in self.hosts if host.share.number not in self.losses]

    def status(self) -> Status:
        """Of the living shards together."""
        return total([host.status for host in self.living])

    def look(self) -> None:
        """Notice shards that are silent, and errors of ours."""
        now_s = asyncio.get_running_loop().time()
        for host in self.living:
            bug = getattr(host, "bug", None)
            if isinstance(bug, WorkerError):
                raise bug
            if now_s - host.heard_s > self.silent_s:
                host.kill()  # its calls then end with `ShardLostError`

    # -- the steps of a run -----------------------------------------------------------------------

    async def start(self) -> None:
        """Until every shard has its world. `PreflightError` when that does not fit."""
        try:
            await asyncio.gather(*(host.start() for host in self.hosts))
        except ShardLostError as lost:
            raise ConnectError(f"a shard died while it built its world: {lost}") from None
        except ValueError as error:
            raise PreflightError(f"{self._scenario}: {error}") from None

    async def connect(self, timeout_s: float) -> None:
        """Connect every vehicle of every shard: no message is sent before all are online.

        `ConnectError` with the reasons counted, or with the shard that died.
        """
        answers: list[Status] = await self._each("connect", timeout_s)
        for number, loss in self.losses.items():
            raise ConnectError(f"{self._name(number)} died while connecting: {loss.why}")
        seen = total(answers)
        self.connected_at_start = seen.connected
        if seen.connected < self.vehicles:
            raise ConnectError(
                f"{seen.connected} of {self.vehicles} vehicles connected within {timeout_s:g} s"
                + reasons_text(seen.failures)
            )

    async def run(self) -> None:
        """All phases, in every shard from the same moment on; until the last living one ends."""
        begin_ns: int | None = None
        if len(self.hosts) > 1:
            begin_ns = self.clock.now_ns() + round(LEAD_S * 1e9)
        self.t0_ns = begin_ns or self.clock.now_ns()
        spans: list[tuple[int, int]] = await self._each("run", begin_ns)
        if spans:
            self.t0_ns = min(t0_ns for t0_ns, _ in spans)
        self.end_ns = max([end_ns for _, end_ns in spans], default=self.clock.now_ns())

    async def broken(self) -> list[str]:
        """VINs of vehicles that broke after their update had succeeded, in any living shard."""
        answers: list[list[str]] = await self._each("broken")
        return [vin for answer in answers for vin in answer]

    async def stop(self) -> None:
        """End the phases in every shard."""
        await self._each("stop")

    async def drain(self, timeout_s: float) -> int | None:
        """Wait for acknowledgements: how many messages the cloud should have by then; None when a
        shard died and took its ledger along."""
        counts: list[int] = await self._each("drain", timeout_s)
        delivered = sum(counts)
        for number in self.losses:
            left = self._of_lost(number)
            if left.ledger_lost:
                return None
            delivered += int(left.columns.acknowledged.sum())
        return delivered

    async def finish(self, timeout_s: float, settle_s: float, stalls: Sequence[int]) -> Driven:
        """Disconnect, and gather what every shard measured. `stalls`: how many each town has."""
        found: dict[int, Leavings] = {}

        async def one(host: Host) -> None:
            work = host.finish(timeout_s, settle_s)
            try:
                found[host.share.number] = await asyncio.wait_for(
                    work, timeout_s + settle_s + _CLOSING_S
                )
            except ShardLostError as lost:
                self._lose(host, str(lost))
            except TimeoutError:
                host.kill()
                self._lose(host, f"it did not finish within {_CLOSING_S:g} s")

        await asyncio.gather(*(one(host) for host in self.living))
        for number in self.losses:
            found[number] = self._of_lost(number)
        return merge([found.pop(host.share.number) for host in self.hosts], stalls)

    def kill(self) -> None:
        """End what still lives, whatever it does."""
        for host in self.hosts:
            host.kill()

    # -- inside -----------------------------------------------------------------------------------

    async def _each(self, name: str, *args: Any) -> list[Any]:
        """Call every living shard; the answers of those that live to give one."""

        async def one(host: Host) -> Any:
            try:
                return await host.call(name, *args)
            except ShardLostError as lost:
                self._lose(host, str(lost))
                return None

        answers = await asyncio.gather(*(one(host) for host in self.living))
        return [answer for answer in answers if answer is not None]

    def _lose(self, host: Host, why: str) -> None:
        number = host.share.number
        if number not in self.losses:
            self.losses[number] = Loss(why, self.clock.now_ns())
            self.on_lost(f"{self._name(number)} died, with {host.share.n} vehicles: {why}")

    def _of_lost(self, number: int) -> Leavings:
        loss = self.losses[number]
        return self.hosts[number].recover(loss.why, self.t0_ns, loss.at_ns)

    def _name(self, number: int) -> str:
        return f"shard {number + 1} of {len(self.hosts)}"
