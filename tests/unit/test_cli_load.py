"""`fleet-sim load` hands on to Locust what is not its own."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fleet_sim.cli import main
from fleet_sim.cli.load import KINDS
from fleet_sim.resources import data_dir


def handed_on(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: calls.append(command))
    done = CliRunner().invoke(main, ["load", *arguments])
    assert done.exit_code == 0, done.output
    assert len(calls) == 1
    assert calls[0][:4] == [sys.executable, "-m", "locust", "-f"]
    return calls[0][4:]


def test_all_kinds_headless_and_options_of_locust(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("-u", "200", "--threshold", "load_failed: value<0.01", "--html", "a.html")
    folder = str(data_dir("loadtests"))
    assert handed_on(monkeypatch, *options) == [folder, "--headless", *options]
    assert handed_on(monkeypatch, "--web") == [folder]


def test_only_some_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    files, *rest = handed_on(monkeypatch, "--only", "drivers", "--only", "probes", "-t", "1m")
    assert [Path(name).name for name in files.split(",")] == ["drivers.py", "probes.py"]
    assert all(Path(name).is_file() for name in files.split(","))
    assert rest == ["--headless", "-t", "1m"]


def test_every_file_of_users_is_a_kind() -> None:
    files = {path.stem for path in data_dir("loadtests").glob("[!_]*.py")}
    assert files == set(KINDS)


def test_without_locust_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    done = CliRunner().invoke(main, ["load"])
    assert done.exit_code == 2
    assert "pip install 'fleet-sim[load]'" in done.output
