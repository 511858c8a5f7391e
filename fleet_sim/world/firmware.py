"""Truth about a vehicle's firmware: two slots, the boot loader, and what really happened to them.

The slot that runs is never written, and a new one is booted once on trial: so whatever step loses
power, the old or the new image boots. The vehicle's own software sees `Booted` and nothing else.
"""

from typing import Literal, NamedTuple

import numpy as np

from fleet_sim.scenario import Scenario

_FIRMWARE = 0x66777265
"""Keeps this draw apart from all others of the seed."""

HowBooted = Literal["normal", "trial", "fell_back"]
"""As the boot loader chose: the committed slot; the new one on trial; the committed one again,
because a trial was not committed."""
Defect = Literal["none", "boot", "self-test", "delayed"]
"""Of an image: it does not boot; it boots and its self-test fails; it fails later."""


class Firmware(NamedTuple):
    """An image in a slot."""

    version: str
    release: int
    defect: Defect = "none"


class Booted(NamedTuple):
    how: HowBooted
    firmware: Firmware


class Slots:
    """Two slots of one vehicle. Counters are truth: nothing that reports them is asked."""

    __slots__ = (
        "boots",
        "commits",
        "committed",
        "fell_back",
        "running",
        "spare",
        "trial",
        "writes",
    )

    def __init__(self, firmware: Firmware) -> None:
        self.committed = firmware
        """What is booted, unless a trial is marked."""
        self.running: Firmware | None = firmware
        """None while there is no power."""
        self.spare: Firmware | None = None
        """A whole image in the other slot; None when it is empty, partly written or torn."""
        self.trial = False
        """The spare slot is to be booted once."""
        self.fell_back = False
        """A trial ended without commit, and nobody asked yet."""
        self.boots = 0
        self.writes: dict[int, int] = {}
        """Release to how often it was written whole."""
        self.commits: dict[int, int] = {}
        """Release to how often it was committed."""

    @property
    def on_trial(self) -> bool:
        """The spare slot runs, not committed."""
        return self.running is not None and self.running is self.spare

    def begin_write(self) -> None:
        """The spare slot holds no image from here on. `RuntimeError` when it is the one that
        runs."""
        if self.on_trial:
            raise RuntimeError("the running slot would be written (allowed: the spare one)")
        self.spare = None
        self.trial = False

    def end_write(self, firmware: Firmware) -> None:
        """The spare slot holds a whole image."""
        self.spare = firmware
        self.writes[firmware.release] = self.writes.get(firmware.release, 0) + 1

    def mark_trial(self) -> None:
        """Boot the spare slot next time, once. `RuntimeError` when there is nothing in it."""
        if self.spare is None:
            raise RuntimeError("an empty slot would be booted (allowed: after a whole write)")
        self.trial = True

    def lose_power(self) -> None:
        if self.on_trial:
            self.fell_back = True
        self.running = None

    def boot(self) -> Booted:
        """Power is there. The mark of a trial is used up before the slot is started: an image that
        hangs is ended by the watchdog, and the next boot takes the committed slot."""
        if self.on_trial:
            self.fell_back = True
        if self.trial and self.spare is not None:
            self.trial = False
            self.boots += 1
            if self.spare.defect != "boot":
                self.running = self.spare
                return Booted("trial", self.running)
            self.fell_back = True
        self.boots += 1
        self.running = self.committed
        return Booted("fell_back" if self.fell_back else "normal", self.running)

    def commit(self) -> None:
        """The running slot is the one to boot from now on; the other becomes spare."""
        if not self.on_trial or self.spare is None:
            raise RuntimeError("nothing is on trial (allowed: after a trial's boot)")
        self.commits[self.spare.release] = self.commits.get(self.spare.release, 0) + 1
        self.committed, self.spare = self.spare, self.committed

    def forget_trial(self) -> None:
        self.fell_back = False


def firmware_of(scenario: Scenario) -> list[str]:
    """Version that each vehicle runs at the beginning [vehicles]: shares of the group by largest
    remainder, drawn from the scenario's seed, and from nothing else."""
    rng = np.random.default_rng([scenario.seed, _FIRMWARE])
    found: list[str] = []
    for group in scenario.fleet:
        shares = np.array(list(group.firmware.values())) * group.count
        counts = np.floor(shares + 1e-9).astype(int)
        rest = np.argsort(counts - shares, kind="stable")[: group.count - counts.sum()]
        counts[rest] += 1
        versions = [
            v for v, n in zip(group.firmware, counts.tolist(), strict=True) for _ in range(n)
        ]
        if len(group.firmware) > 1:
            versions = [versions[i] for i in rng.permutation(group.count)]
        found += versions
    return found
