"""What a person sees while it runs: a live panel on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fleet_sim.engine.probe import VisibleProbe
from fleet_sim.engine.shard import Shard
from fleet_sim.scenario import Scenario

PLAIN_EVERY_S = 10.0


class Steps(Protocol):
    """Setting up, step by step."""

    def step(self, text: str) -> None:
        """A step begins."""

    def detail(self, text: str) -> None:
        """How far the present step is."""

    def done(self, text: str) -> None:
        """The present step is over, with what came of it."""


class ConsoleSteps:
    """Prints steps on a console: a spinner on a terminal, one line a finished step elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._status = console.status("") if console.is_terminal else None
        self._text = ""

    def __enter__(self) -> "ConsoleSteps":
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def step(self, text: str) -> None:
        self._began = time.monotonic()
        self._text = text
        if self._status:
            self._status.update(f"{text} …")

    def detail(self, text: str) -> None:
        if self._status:
            self._status.update(f"{self._text}: {text}")

    def done(self, text: str) -> None:
        took = time.monotonic() - self._began
        self._console.print(
            Text.assemble(("✓ ", "green"), text, (f"  {took:.1f} s", "dim")), soft_wrap=True
        )


class LiveView:
    """The state of a running shard, drawn twice a second."""

    def __init__(
        self, console: Console, scenario: Scenario, shard: Shard, probe: VisibleProbe | None
    ) -> None:
        self._console = console
        self._scenario = scenario
        self._shard = shard
        self._probe = probe
        self._next_plain = 0.0
        self.notice = ""
        """Shown in red below the figures."""

    @contextmanager
    def shown(self) -> Iterator["LiveView"]:
        """Draw until the block is left."""
        if not self._console.is_terminal:
            yield self
            return
        with Live(
            get_renderable=self._render, console=self._console, refresh_per_second=2, transient=True
        ):
            yield self

    def tick(self) -> None:
        """Called every half second: prints a line now and then where there is no terminal."""
        if self._console.is_terminal or time.monotonic() < self._next_plain:
            return
        self._next_plain = time.monotonic() + PLAIN_EVERY_S
        figures = "  ".join(f"{name} {value}" for name, value in self._figures())
        self._console.print(f"{self._where()}  {figures}", soft_wrap=True, highlight=False)

    # -- inside -----------------------------------------------------------------------------------

    def _elapsed_s(self) -> float:
        shard = self._shard
        return (shard.clock.now_ns() - shard.t0_ns) / 1e9 if shard.t0_ns else 0.0

    def _where(self) -> str:
        elapsed = self._elapsed_s()
        simulated = elapsed * self._scenario.clock.speed
        begin = 0.0
        for phase in self._scenario.phases:
            if simulated < begin + phase.duration_s:
                return f"{elapsed:5.0f} s  {phase.name}"
            begin += phase.duration_s
        return f"{elapsed:5.0f} s  draining"

    def _figures(self) -> list[tuple[str, str]]:
        shard = self._shard
        now_ns = shard.clock.now_ns()
        ledger = shard.ledger
        # The newest rows cover the last second or more, whatever the length of the run.
        newest = slice(max(0, len(ledger) - 2 * _a_second_of_rows(shard)), len(ledger))
        intended = ledger.column("intended_ns")[newest]
        sent = ledger.column("sent_ns")[newest]
        acked = ledger.column("acked_ns")[newest]
        recent = (intended > now_ns - 2_000_000_000) & (intended <= now_ns - 1_000_000_000)
        in_flight, stored = shard.transport.backlog()
        figures = [
            ("connected", f"{shard.connected}/{shard.world.n}"),
            ("sent/s", str(int((recent & (sent != 0)).sum()))),
            ("acknowledged/s", str(int((recent & (acked != 0)).sum()))),
            ("in flight", str(in_flight)),
            ("stored", str(stored)),
            # The generator's own; a wait for the radio or the broker is in the one after it.
            ("lateness p99", _p99_ms(_newest(shard.lateness_ns))),
            ("ack p99", _p99_ms((acked - intended)[recent & (acked != 0)])),
        ]
        if self._probe is not None and self._probe.visible_ns:
            rows = list(self._probe.visible_ns)[-20:]
            every = ledger.column("intended_ns")
            ages = [(self._probe.visible_ns[row] - int(every[row])) / 1e6 for row in rows]
            figures.append(("visible p50", f"{np.median(ages):.0f} ms"))
        counts = shard.world.counts()
        figures.append(("stalls taken", f"{shard.world.truth.occupied.mean():.0%}"))
        figures.append(("driving", str(counts["driving"] + counts["cruising"])))
        return figures

    def _render(self) -> RenderableType:
        elapsed = self._elapsed_s()
        total = self._shard.duration_ns / 1e9
        table = Table.grid(padding=(0, 3))
        for name, value in self._figures():
            table.add_row(Text(name, style="dim"), Text(value, style="bold", justify="right"))
        bar = ProgressBar(total=total, completed=min(elapsed, total), width=40)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self._scenario.name, style="bold"), bar, Text(f"{self._where()} of {total:.0f} s")
        )
        parts: list[RenderableType] = [head, Text(""), table]
        if self.notice:
            parts.append(Text(self.notice, style="bold red"))
        return Group(*parts)


def _a_second_of_rows(shard: Shard) -> int:
    seconds = max(shard.duration_ns / 1e9, 1.0)
    return int(shard.scheduled_total / seconds) + 1


def _newest(batches: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """About a second of batches: a look at the schedule comes every few ms."""
    return np.concatenate(batches[-100:]) if batches else np.zeros(0, np.int64)


def _p99_ms(latency_ns: NDArray[np.int64]) -> str:
    return f"{np.percentile(latency_ns, 99) / 1e6:.0f} ms" if latency_ns.size else "–"
