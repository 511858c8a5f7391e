"""What a run would cost on AWS: in the report and on a terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet_sim.measure.cost import Bill, Estimate, Need
from fleet_sim.report.axes import length_text, percent_text
from fleet_sim.report.html import Html, missing, section, table, tag

SHOWN_NEEDS = 6


def usd(amount: float) -> str:
    """Cents, or what is left of less than one."""
    if 0 < amount < 0.001:
        return "< $0.001"
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.2g}"


def _cell(amount: float) -> str:
    """In a column: what is below ten cents has four decimals."""
    return f"${amount:.4f}" if 0.001 <= amount < 0.1 else usd(amount)


def _length(hours: float) -> str:
    """Of a run in words that fit it, of a described fleet in hours."""
    return f"{hours:,.4g} h" if hours >= 2 else length_text(hours * 3600)


def _count(quantity: float) -> str:
    if 0 < quantity < 0.001:
        return "< 0.001"
    return f"{quantity:,.0f}" if quantity >= 1000 else f"{quantity:.4g}"


def cost_text(cost: Estimate) -> str:
    """One line."""
    bill = cost.bill
    dearest, part = next(iter(bill.by_service.items()))
    return (
        f"{usd(bill.usd)} on AWS, {usd(bill.usd_per_vehicle_month)} a vehicle and month, "
        f"{percent_text(part / bill.usd)} of it {dearest}"
    )


def section_of(cost: Estimate | None) -> Html:
    """Of the report."""
    if cost is None:
        sentence = "Nothing was sent, or the region has no prices (fleet-sim cost says which have)."
        return section("cost", "Cost on AWS", missing(sentence))
    bill = cost.bill
    rows = [
        (
            f"{line.service}: {line.item}",
            f"{_count(line.quantity)} × {line.unit}",
            _cell(line.usd),
            _cell(line.usd_per_month),
        )
        for line in sorted(bill.lines, key=lambda line: -line.usd)
    ]
    parts = [
        tag("p", _said(cost)),
        table("By list prices", ("what", "how much", "this run", "a month"), rows, numbers_from=2),
    ]
    if cost.savings:
        parts.append(
            table(
                "What would lower it, each taken alone",
                ("change", "at the price of", "of the bill", "a month"),
                [
                    (s.change, s.price, percent_text(s.share), usd(s.usd_per_month))
                    for s in cost.savings
                ],
                numbers_from=2,
            )
        )
    parts.append(
        table(
            "Quotas of an AWS account that are nearest",
            ("quota", "needed", "default"),
            [(n.quota, _count(n.needed), _default(n)) for n in cost.capacity[:SHOWN_NEEDS]],
        )
    )
    parts += [tag("p", sentence) for sentence in _small_print(cost)]
    return section("cost", "Cost on AWS", *parts)


def cost_table(cost: Estimate) -> RenderableType:
    """For a terminal."""
    bill = cost.bill
    parts: list[RenderableType] = [Text(_said(cost), style="bold"), Text()]
    lines = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("service", "item"):
        lines.add_column(name)
    lines.add_column("quantity", justify="right")
    lines.add_column("unit", overflow="fold")
    for name in ("USD", "a month"):
        lines.add_column(name, justify="right")
    for line in bill.lines:
        lines.add_row(
            line.service,
            line.item,
            _count(line.quantity),
            line.unit,
            f"{line.usd:,.2f}",
            f"{line.usd_per_month:,.2f}",
        )
    parts += [lines, Text()]
    if cost.savings:
        saved = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("would save", "a month", "of it", "by", "at the price of"):
            saved.add_column(name, overflow="fold")
        for saving in cost.savings:
            saved.add_row(
                usd(saving.usd),
                usd(saving.usd_per_month),
                percent_text(saving.share),
                saving.change,
                saving.price,
            )
        parts += [saved, Text()]
    quotas = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    quotas.add_column("quota", overflow="fold")
    for name in ("needed", "default"):
        quotas.add_column(name, justify="right")
    quotas.add_column("", overflow="fold")
    for need in cost.capacity:
        style = "bold red" if need.hit else ""
        quotas.add_row(need.quota, _count(need.needed), _default(need), need.note, style=style)
    parts += [quotas, Text(), *(Text(text, style="dim") for text in _small_print(cost))]
    return Group(*parts)


def _said(cost: Estimate) -> str:
    bill, work = cost.bill, cost.workload
    return (
        f"{work.vehicles:,} vehicles, {_count(work.messages_per_s)} messages/s, "
        f"{_length(bill.hours)} in {bill.region}: {usd(bill.usd)}; "
        f"{usd(bill.usd_per_month)} a month of 730 h, "
        f"{usd(bill.usd_per_vehicle_month)} a vehicle. " + _shares(bill)
    )


def _shares(bill: Bill) -> str:
    """Services that are a hundredth of the bill at least."""
    parts = {name: part / bill.usd for name, part in bill.by_service.items()}
    said = ", ".join(f"{name} {percent_text(part)}" for name, part in parts.items() if part >= 0.01)
    return f"{said}." if said else ""


def _default(need: Need) -> str:
    beyond = " EXCEEDED" if need.hit else ""
    return f"{need.default:,.6g}{'' if need.adjustable else ', fixed'}{beyond}"


def _many(count: float, thing: str) -> str:
    return f"{_count(count)} {thing}{'' if count == 1 else 's'}"


def _small_print(cost: Estimate) -> Iterator[str]:
    work, bill = cost.workload, cost.bill
    duration = "measured" if work.lambda_ms is not None else "assumed"
    yield (
        f"{_many(work.shards, 'shard')}; {_many(work.records, 'record')} an invocation of "
        f"{work.invocation_ms:,.4g} ms ({duration}), {work.memory_mb} MB."
    )
    yield f"List prices of {bill.dated}. Left out: {'; '.join(cost.left_out)}."
    if bill.unchecked:
        yield (
            "Not compared with a quotation of their source, look before you rely on them: "
            f"{', '.join(bill.unchecked)}."
        )
