"""What the documents say can be done, can: commands parse, links lead somewhere, rooms exist."""

import contextlib
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from fleet_sim.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "reports" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
)

_COMMAND = re.compile(r"^\s*(?:\$ )?(?:#\s+)?(fleet-sim [a-z][^#\n`]*)", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
_ANCHOR = re.compile(r"\]\(([^)#\s:]*)#([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_MADE = re.compile(r"^make ([a-z -]+)", re.MULTILINE)
_MAKE = re.compile(r"^\$ make ([a-z-]+)", re.MULTILINE)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def commands() -> list[tuple[str, str]]:
    """(where, command line) of every command that a page or an example scenario shows."""
    found = []
    for page in [*PAGES, *sorted((ROOT / "scenarios").glob("*.yaml"))]:
        for match in _COMMAND.finditer(page.read_text()):
            found.append((page.name, match[1].split(" > ")[0].split(" | ")[0].strip()))
    return found


def takes(line: str) -> None:
    """Parse a command line down to the innermost command. Its files need not be there."""
    program, *arguments = shlex.split(line)
    assert program == "fleet-sim"
    command: click.Command = main
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        command = command.commands[arguments.pop(0)]
    with contextlib.suppress(click.exceptions.Exit):  # --help and the like
        try:
            command.make_context(command.name, arguments)
        except click.BadParameter as error:
            if not error.message.endswith("does not exist."):
                raise


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_in_the_documents_is_one_that_the_program_takes(page: str, line: str) -> None:
    takes(line.replace("…", ""))


def test_commands_are_found_at_all() -> None:
    assert len({line for page, line in commands() if page == "README.md"}) >= 8


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


def _anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_into_a_page_lead_to_a_heading(page: Path) -> None:
    for target, anchor in _ANCHOR.findall(page.read_text()):
        there = page.parent / target if target else page
        assert anchor in _anchors(there), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_rows_of_a_table_have_the_cells_of_its_head(page: Path) -> None:
    cells = 0
    lines = _prose(page).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("|"):
            cells = 0
            continue
        count = len(re.sub(r"\\\||`[^`]*`", "", line).split("|")) - 2
        if not cells:
            assert re.fullmatch(r"[|: -]+", following), f"a row without a head: {line}"
        cells = cells or count
        assert count == cells, line


def helps() -> list[str]:
    """Command lines that the examples of --help show, of commands and of their own commands."""
    found: list[str] = []
    pending: list[click.Command] = list(main.commands.values())
    while pending:
        command = pending.pop()
        pending.extend(getattr(command, "commands", {}).values())
        found.extend(line.strip() for line in getattr(command, "examples", "").splitlines())
    return [line for line in found if line]


@pytest.mark.parametrize("line", helps())
def test_an_example_of_the_help_is_one_that_the_program_takes(line: str) -> None:
    takes(line.split(" > ")[0])


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    shown = _MAKE.findall((ROOT / "README.md").read_text())
    assert shown[:2] == ["demo", "test"]
    for target in shown:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_workflow_runs_make_targets_that_exist_on_every_supported_python() -> None:
    makefile = (ROOT / "Makefile").read_text()
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = [word for run in steps for word in _MADE.findall(run)]
    assert {"check", "security", "pytest", "bench-ci"} <= {
        w for each in targets for w in each.split()
    }
    for target in (word for each in targets for word in each.split()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    supported = {
        found[1]
        for name in project["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", name))
    }
    assert set(jobs["test"]["strategy"]["matrix"]["python"]) == supported


def test_every_room_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for init in (ROOT / "fleet_sim").glob("*/__init__.py"):
        assert f"`{init.parent.name}/`" in text, init.parent.name
