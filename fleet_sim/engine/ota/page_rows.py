"""What both tables of docs/ota.md say in the same words."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from fleet_sim.measure.ota import OtaReport
from fleet_sim.measure.thresholds import ThresholdResult

VARIANTS = {
    "ota_tampered": ("flipped_byte", "wrong_key", "wrong_length", "endless_data"),
    "ota_replay": ("replay", "freeze", "mix_and_match", "rollback"),
}
"""Attacks that a scenario is tried with; the first is its own."""
MUST_BREAK = {"ota_delayed_fault_no_soak": frozenset({"ota_started_share"})}
"""Thresholds that a scenario is there to break: these, and no others."""


class Mark(NamedTuple):
    """A pair of comments in a page, between which a table is written."""

    name: str

    @property
    def begin(self) -> str:
        return f"<!-- {self.name} -->"

    @property
    def end(self) -> str:
        return f"<!-- /{self.name} -->"


def named(scenario: str, attack: str) -> str:
    """`attack`: empty where the scenario has but one."""
    return f"`{scenario}`" + (f", {attack.replace('_', ' ')}" if attack else "")


def outcome(found: OtaReport) -> str:
    """State and statuses on record, and why vehicles did not succeed."""
    statuses = ", ".join(f"{count:,} {name}" for name, count in found.statuses.items())
    reasons = ", ".join(name for name in found.reasons if name)
    return f"{found.state}: {statuses}" + (f" ({reasons})" if reasons else "")


def told(results: Iterable[ThresholdResult]) -> str:
    """Each threshold, what was measured, and whether it was broken."""
    return "; ".join(
        f"`{r.metric.removeprefix('ota_')}` {_comparison(r.condition)}: "
        + ("–" if r.observed is None else f"{r.observed:,.4g}")
        + ("" if r.passed else " **broken**")
        for r in results
    )


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """One Markdown table."""
    return "\n".join(
        [
            f"| {' | '.join(head)} |",
            "|---" * len(head) + "|",
            *(f"| {' | '.join(row)} |" for row in body),
        ]
    )


def yes(*, held: bool) -> str:
    return "yes" if held else "**no**"


def check_marks(page: Path, mark: Mark) -> tuple[str, str]:
    """What stands before and behind them. `ValueError` when the page has no such marks: better
    known before an hour of runs than after it."""
    old = page.read_text("utf-8")
    head, begin, rest = old.partition(mark.begin)
    _, end, tail = rest.partition(mark.end)
    if not (begin and end):
        raise ValueError(
            f"{page}: {mark.begin} and {mark.end} are missing (allowed: both, in this order)"
        )
    return head, tail


def replace_between(page: Path, mark: Mark, text: str) -> None:
    """`ValueError` when the page has no such marks."""
    head, tail = check_marks(page, mark)
    page.write_text(f"{head}{mark.begin}\n{text}\n{mark.end}{tail}", "utf-8")


def _comparison(condition: str) -> str:
    return condition.removeprefix("value").removeprefix("count")
