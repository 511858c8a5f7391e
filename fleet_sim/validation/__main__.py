"""`python -m fleet_sim.validation [--scale S] [--only ID] [--out docs/validation.md]`."""

import importlib
import pkgutil
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import fleet_sim.validation
from fleet_sim.validation.check import Check, Outcome


def all_checks() -> list[Check]:
    """Checks of every module of this room that has some, in the order of their names."""
    found: list[Check] = []
    for info in sorted(pkgutil.iter_modules(fleet_sim.validation.__path__), key=lambda m: m.name):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"fleet_sim.validation.{info.name}")
            found += getattr(module, "CHECKS", ())
    return found


@click.command()
@click.option("--scale", default=1.0, type=click.FloatRange(0, 1, min_open=True), show_default=True)
@click.option("--only", default="", help="Checks whose id begins so, such as gnss.")
@click.option("--out", type=click.Path(path_type=Path), help="Markdown page; plots go beside it.")
def main(scale: float, only: str, out: Path | None) -> None:
    """Run every check of the models, print the table, and exit with 1 when one fails."""
    console = Console(highlight=False)
    results: list[tuple[Check, Outcome]] = []
    table = Table("check", "claim", "target", "measured", "result", title=f"scale {scale:g}")
    for check in all_checks():
        if not check.id.startswith(only):
            continue
        began = time.monotonic()
        outcome = check.measure(scale)
        console.print(f"{check.id}: {outcome.measured} ({time.monotonic() - began:.1f} s)")
        results.append((check, outcome))
        verdict = "passed" if outcome.passed else "FAILED"
        table.add_row(check.id, check.claim, check.target, outcome.measured, verdict)
    console.print(table)
    if out is not None:
        out.write_text(_page(results, scale, out))
        console.print(f"{out} written")
    sys.exit(not all(outcome.passed for _, outcome in results))


def _page(results: list[tuple[Check, Outcome]], scale: float, out: Path) -> str:
    lines = [
        "# Validation of the models",
        "",
        f"Made by `make validate`, scale {scale:g}. The models: [models.md](models.md).",
        "",
        "| check | claim | target | measured | result |",
        "|---|---|---|---|---|",
    ]
    for check, outcome in results:
        verdict = "passed" if outcome.passed else "**failed**"
        cells = (check.id, check.claim, check.target, outcome.measured, verdict)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    notes = [(check, outcome) for check, outcome in results if outcome.note]
    if notes:
        lines += ["", "## Notes", ""]
        lines += [f"- **{check.id}**: {outcome.note}" for check, outcome in notes]
    plots = [check for check, _ in results if check.plot is not None]
    if plots:
        lines += ["", "## Plots", ""]
        folder = out.parent / "validation"
        folder.mkdir(exist_ok=True)
        for check in plots:
            _draw(check, folder / f"{check.id}.png")
            lines += [
                f"### {check.id}: {check.claim}",
                "",
                f"![{check.claim}](validation/{check.id}.png)",
                "",
            ]
    return "\n".join(lines) + "\n"


def _draw(check: Check, file: Path) -> None:
    # Only here: drawing is the dev extra's, checking is not.
    from matplotlib.figure import Figure

    assert check.plot is not None
    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    check.plot(figure.subplots())
    figure.savefig(file)


if __name__ == "__main__":
    main()
