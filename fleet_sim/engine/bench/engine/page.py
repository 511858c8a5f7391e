"""What a benchmark found, for people: a table on the terminal, a page with a plot."""

from pathlib import Path

from rich.table import Table

from fleet_sim.engine.bench.engine.contest import Contest, Measured

BEGIN = "<!-- bench engine: written by the command, see below -->"
END = "<!-- end of bench engine -->"
_HEADINGS = (
    "µs/msg",
    "× floor",
    "msg/s/core",
    "KB/veh.",
    "conn./s",
    "p99 late",
    "vehicles",
)


def table(found: Contest) -> Table:
    """For a terminal."""
    made = Table(
        title=f"QoS 1, {found.vehicles:,} vehicles every {found.period_s:g} s, {found.broker}",
        title_justify="left",
        box=None,
    )
    made.add_column("", no_wrap=True)
    for heading in _HEADINGS:
        made.add_column(heading, justify="right")
    for each in found.measured:
        made.add_row(each.title, *_cells(found, each))
    return made


def remarks(found: Contest) -> list[str]:
    """What belongs below the table."""
    lines = [f"left out: {each.name}: {each.reason}" for each in found.skipped]
    if any(not each.held for each in found.measured):
        lines.append("* could not hold the rate of all the vehicles: measured with fewer")
    for target in found.targets:
        verdict = "held  " if target.held else "missed"
        lines.append(f"{verdict}  {target.claim} {target.limit:g}: {target.ratio:.2f}")
    return lines


def section(found: Contest, plot: str | None) -> str:
    """Markdown between the marks of the page."""
    machine = found.machine
    hardware = ("cpu", "cores", "load")
    software = ", ".join(f"{k} {v}" for k, v in machine.items() if k not in hardware)
    lines = [
        BEGIN,
        f"Measured {found.date} with fleet-sim {found.version} on {machine['cores']} cores of "
        f"{machine['cpu']} (load average before: {machine['load']}); {software}. "
        f"Broker: {found.broker}, on the same machine. "
        f"{found.vehicles:,} vehicles, a QoS 1 message each every {found.period_s:g} s, "
        f"{found.rounds} rounds of {found.duration_s:g} s in turns, medians.",
        "",
        "| | " + " | ".join(_HEADINGS) + " |",
        "|---|" + "---:|" * len(_HEADINGS),
        *(f"| {each.title} | " + " | ".join(_cells(found, each)) + " |" for each in found.measured),
        "",
    ]
    lines += [f"Left out: {each.name}, {each.reason}.\n" for each in found.skipped]
    if any(not each.held for each in found.measured):
        lines += [
            "\\* It could not hold the rate of all the vehicles: measured with as many as it held.",
            "",
        ]
    lines += ["| target, without physics | is | |", "|---|---:|---|"]
    lines += [
        f"| {t.claim} {t.limit:g} | {t.ratio:.2f} | {'held' if t.held else '**missed**'} |"
        for t in found.targets
    ]
    if plot is not None:
        lines += ["", f"![CPU time a message by client]({plot})"]
    return "\n".join([*lines, END])


def write_page(found: Contest, page: Path) -> None:
    """Put the section in its place in `page`, and the plot beside it. `ValueError` when the page
    has no place for it."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: no place for the table (allowed: a page with {BEGIN!r})")
    image = page.with_suffix(".png")
    drawn = draw(found, image)
    page.write_text(before + section(found, image.name if drawn else None) + after)


def draw(found: Contest, path: Path) -> bool:
    """Bars of the CPU time a message. False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    order = sorted(found.measured, key=lambda each: -each.cpu_us)
    figure, axes = pyplot.subplots(figsize=(8, 0.5 + 0.45 * len(order)), layout="constrained")
    colours = ["#2166ac" if each.name.startswith("ours") else "#999999" for each in order]
    bars = axes.barh([each.title for each in order], [each.cpu_us for each in order], color=colours)
    axes.bar_label(bars, [f"{each.cpu_us:.1f}" for each in order], padding=3)
    axes.set_xlabel("CPU time a QoS 1 message, µs")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return True


def _cells(found: Contest, each: Measured) -> list[str]:
    floor = next((other.cpu_us for other in found.measured if other.name == "floor"), None)
    return [
        f"{each.cpu_us:.1f}",
        f"{each.cpu_us / floor:.2f}" if floor else "–",
        f"{each.messages_s_core:,.0f}",
        f"{each.memory_kb:.1f}",
        f"{each.connects_s:,.0f}",
        f"{each.lateness_p99_ms:.1f} ms",
        f"{each.vehicles:,}{'' if each.held else ' *'}",
    ]
