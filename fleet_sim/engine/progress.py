"""What a person sees while it runs: a live panel on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fleet_sim.engine.status import Status
from fleet_sim.engine.supervisor import Supervisor
from fleet_sim.measure.live import STAGE_ACKNOWLEDGED
from fleet_sim.measure.thresholds import ThresholdResult
from fleet_sim.scenario import Fault, Scenario

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
    """The state of a run, drawn twice a second."""

    def __init__(self, console: Console, scenario: Scenario, supervisor: Supervisor) -> None:
        self._console = console
        self._scenario = scenario
        self._supervisor = supervisor
        self._status = Status()
        self._next_plain = 0.0
        self.results: list[ThresholdResult] = []
        """Thresholds so far."""
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

    def tick(self, status: Status) -> None:
        """Called every half second: prints a line now and then where there is no terminal."""
        self._status = status
        if self._console.is_terminal or time.monotonic() < self._next_plain:
            return
        self._next_plain = time.monotonic() + PLAIN_EVERY_S
        figures = [f"{name} {value}" for name, value in self._figures()]
        line = "  ".join([self._where(), *figures, *self._broken()])
        self._console.print(line, soft_wrap=True, highlight=False)

    def say(self, text: str) -> None:
        """A line of its own: something happened to the run."""
        self._console.print(Text(text, style="bold red"), soft_wrap=True)

    # -- inside -----------------------------------------------------------------------------------

    def _elapsed_s(self) -> float:
        t0_ns, now_ns = self._supervisor.t0_ns, self._supervisor.clock.now_ns()
        return max(0.0, (now_ns - t0_ns) / 1e9) if t0_ns else 0.0

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
        now, shards = self._status, len(self._supervisor.hosts)
        figures = [
            ("connected", f"{now.connected}/{self._supervisor.vehicles}"),
            ("sent/s", str(now.sent_per_s)),
            ("acknowledged/s", str(now.acknowledged_per_s)),
            ("in flight", str(now.in_flight)),
            ("stored", str(now.stored)),
            # The generator's own; a wait for the radio or the broker is in the one after it.
            ("lateness p99", _ms(now.lateness_p99_ms)),
            ("ack p99", _ms(now.acknowledged_p99_ms)),
        ]
        if (so_far := now.live.get(STAGE_ACKNOWLEDGED)) and so_far.counts:
            figures.append(("ack p95 so far", _ms(so_far.stats((95.0,))["p95"])))
        if now.visible_p50_ms is not None:
            figures.append(("visible p50", _ms(now.visible_p50_ms)))
        if now.stalls:
            figures.append(("stalls taken", f"{now.occupied / now.stalls:.0%}"))
        figures.append(("driving", str(now.driving)))
        if self.results:
            held = sum(result.passed for result in self.results)
            figures.append(("thresholds held", f"{held}/{len(self.results)}"))
        if shards > 1:
            figures.append(("shards", f"{len(self._supervisor.living)}/{shards}"))
        return figures

    def _broken(self) -> list[str]:
        """Faults that are on, and for how long still, s of wall time."""
        speed = self._scenario.clock.speed
        now_s = self._elapsed_s() * speed
        return [
            f"fault: {what_breaks(fault)}, {(fault.at_s + fault.for_s - now_s) / speed:.0f} s more"
            for fault in self._scenario.faults
            if fault.at_s <= now_s < fault.at_s + fault.for_s
        ]

    def _phases(self) -> Text:
        """All, the present one in bold, those that are over dim."""
        now_s = self._elapsed_s() * self._scenario.clock.speed
        line, begin_s = Text(), 0.0
        for phase in self._scenario.phases:
            end_s = begin_s + phase.duration_s
            style = "dim" if now_s >= end_s else "bold" if now_s >= begin_s else ""
            line.append(" ▸ " if begin_s else "", style="dim")
            line.append(phase.name, style=style)
            begin_s = end_s
        return line

    def _render(self) -> RenderableType:
        elapsed = self._elapsed_s()
        total = self._scenario.duration_s / self._scenario.clock.speed
        table = Table.grid(padding=(0, 3))
        for name, value in self._figures():
            table.add_row(Text(name, style="dim"), Text(value, style="bold", justify="right"))
        bar = ProgressBar(total=total, completed=min(elapsed, total), width=40)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self._scenario.name, style="bold"), bar, Text(f"{self._where()} of {total:.0f} s")
        )
        parts: list[RenderableType] = [head, self._phases(), Text(""), table]
        parts += [Text(text, style="yellow") for text in self._broken()]
        if self.notice:
            parts.append(Text(self.notice, style="bold red"))
        return Group(*parts)


def what_breaks(fault: Fault) -> str:
    """In a few words."""
    if fault.radio is not None:
        return f"radio {fault.radio.state}: {fault.radio.district}"
    return "broker down"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"
