"""`index.html` of a run folder: one file, no network, no third-party code."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from fleet_sim.report import cost, sections, trust
from fleet_sim.report.folder import RunFolder, read
from fleet_sim.report.html import Html, escape, join, tag
from fleet_sim.report.load import load_test
from fleet_sim.report.ota import campaign

_ASSETS = files("fleet_sim.report") / "assets"


def render(run_dir: Path) -> Path:
    """Write `index.html` into a run folder and return its path.

    `ValueError` when the folder has no valid `summary.json`; whatever else is missing is a
    sentence in the page.
    """
    target = run_dir / "index.html"
    target.write_text(page(read(run_dir)), encoding="utf-8")
    return target


def page(run: RunFolder) -> str:
    """The whole document."""
    links = [
        tag("a", text, href=f"#{anchor}")
        for anchor, text in (
            ("thresholds", "Thresholds"),
            ("happened", "What happened"),
            ("latency", "Latency"),
            ("audit", "Audit"),
            *([("campaign", "Update")] if run.summary.ota is not None else []),
            *([("load", "Users of the API")] if run.summary.load is not None else []),
            ("map", "Map"),
            ("generator", "Generator"),
            ("cost", "Cost"),
            ("scenario", "Scenario"),
            ("environment", "Environment"),
        )
    ]
    body = join(
        [
            sections.verdict(run),
            tag("nav", *links, aria_label="Sections"),
            tag(
                "main",
                sections.key_figures(run),
                sections.thresholds(run),
                sections.happened(run),
                sections.latency(run),
                sections.audit(run),
                campaign(run.summary.ota, run.waves),
                load_test(run.summary.load),
                sections.parking_map(run),
                trust.generator(run.summary),
                cost.section_of(run.summary.cost),
                sections.scenario(run),
                sections.environment(run),
            ),
        ]
    )
    title = f"{sections.VERDICTS[run.summary.run.verdict]} – {run.summary.run.scenario}"
    return document(title, body)


def document(title: str, body: Html) -> str:
    """A page with the report's style and script, and a policy that lets nothing else in."""
    style = (_ASSETS / "report.css").read_text("utf-8")
    script = (_ASSETS / "report.js").read_text("utf-8")
    # Only this script may run, even if a name in a run folder found a way around the escaping.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n"
        f"{body}\n{tag('script', Html(script))}\n</body>\n</html>\n"
    )
