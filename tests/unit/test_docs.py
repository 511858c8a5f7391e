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
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])

_COMMAND = re.compile(r"^\s*(?:\$ )?(?:#\s+)?(fleet-sim [a-z][^#\n`]*)", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
_MADE = re.compile(r"^make ([a-z -]+)", re.MULTILINE)
_MAKE = re.compile(r"^\$ make ([a-z-]+)", re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """(where, command line) of every command that a page or an example scenario shows."""
    found = []
    for page in [*PAGES, *sorted((ROOT / "scenarios").glob("*.yaml"))]:
        for match in _COMMAND.finditer(page.read_text()):
            found.append((page.name, match[1].split(" > ")[0].split(" | ")[0].strip()))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_in_the_documents_is_one_that_the_program_takes(page: str, line: str) -> None:
    name, *arguments = shlex.split(line.replace("…", ""))[1:]
    command = main.commands[name]
    with contextlib.suppress(click.exceptions.Exit):  # --help and the like
        command.make_context(name, list(arguments))


def test_commands_are_found_at_all() -> None:
    assert len({line for page, line in commands() if page == "README.md"}) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


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
