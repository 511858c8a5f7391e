"""The report's section about who used the API meanwhile."""

from fleet_sim.measure.load import LoadReport
from fleet_sim.report.axes import ms_text
from fleet_sim.report.html import Html, section, table, tag

_PERCENTILES = ("p50", "p95", "p99", "p99.9", "max")


def load_test(report: LoadReport | None) -> Html:
    """Nothing for a run without a load test."""
    if report is None:
        return Html("")
    plural = "worker" if report.workers == 1 else "workers"
    users = f"{report.users_max:,} users at most, {report.workers} {plural}"
    said = [tag("p", users)]
    if report.problem:
        said.append(tag("p", f"The load test is not complete: {report.problem}", class_="broken"))
    if report.cpu_warning:
        text = "Locust took more than 90 % of a core: its latencies may be its own."
        said.append(tag("p", text, class_="broken"))
    parts = []
    if report.requests:
        rows = [
            (
                name,
                of.kind,
                f"{of.count:,}",
                f"{of.failed:,}",
                f"{of.cut:,}",
                f"{of.rate:,.1f}",
                *(ms_text(of.latency_ms.get(key)) for key in _PERCENTILES),
            )
            for name, of in report.requests.items()
        ]
        head = ("request", "kind", "count", "failed", "cut", "a second", *_PERCENTILES)
        caption = "Requests; latencies of those that did not fail, to the whole answer"
        parts.append(table(caption, head, rows))
        if any(of.cut for of in report.requests.values()):
            text = "Cut: their users were ended before the answer; they are in no other figure."
            parts.append(tag("p", text))
    if report.reasons:
        rows_of = [(reason, f"{count:,}") for reason, count in report.reasons.items()]
        parts.append(table("Why requests failed", ("reason", "count"), rows_of))
    return section("load", "Users of the API", *said, *parts)
