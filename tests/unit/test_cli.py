"""The command line: what a user's mistake costs is one line and an exit code."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from fleet_sim import __version__
from fleet_sim.cli import main
from fleet_sim.engine.verdict import ExitCode
from fleet_sim.measure.summary import EXIT_CODES

GOOD = """\
name: good
city: {generate: {blocks: [3, 3]}}
fleet:
  - {group: taxis, count: 5, vehicle: model3_rwd, telemetry: {period: 1s}}
phases:
  - {name: calm, duration: 30s}
"""

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

# What is wrong, the file, and what the line must name: place, field, value, what is allowed.
BROKEN = {
    "typo in a field": (GOOD.replace("count:", "cuont:"), [":4", "cuont", "count"]),
    "wrong unit": (GOOD.replace("duration: 30s", "duration: 30kg"), [":6", "duration", "30kg"]),
    "no unit": (GOOD.replace("duration: 30s", "duration: 30"), [":6", "duration", "30"]),
    "negative count": (GOOD.replace("count: 5", "count: -5"), [":4", "fleet[0].count", "-5", "1"]),
    "unknown vehicle": (
        GOOD.replace("model3_rwd", "modle3_rwd"),
        [":4", "vehicle", "modle3_rwd", "model3_rwd"],
    ),
    "phases that do not fit": (
        GOOD + "faults:\n  - {at: 5m, for: 10s, radio: {district: north}}\n",
        [":8", "faults[0]", "30s"],
    ),
    "empty file": ("", ["empty"]),
    "YAML alias bomb": (BOMB + GOOD, ["alias"]),
    "duplicate keys": (GOOD + "name: again\n", [":7", "name", "1"]),
    "not a mapping": ("- just\n- a list\n", [":1", "mapping"]),
    "vehicles that do not fit the streets": (
        GOOD.replace("count: 5", "count: 5000"),
        ["500 vehicles begin parked", "196 stalls"],
    ),
}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def assert_one_reason(result: Result, path: Path, named: list[str]) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert str(path) in lines[0]
    for text in named:
        assert text in lines[0], (text, lines[0])


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_scenario_exits_with_2_and_one_line_that_names_the_place(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, named = BROKEN[what]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    # What only shows once the city is drawn is found by `run`, before anything is started.
    if "streets" not in what:
        assert_one_reason(invoke("validate", path), path, named)
    assert_one_reason(invoke("run", path), path, named)
    assert not (tmp_path / ".fleet-sim").exists()


def test_a_binary_file_is_no_scenario(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(bytes(range(256)) * 16)
    assert_one_reason(invoke("validate", path), path, [])


def test_a_missing_seed_is_fine_and_so_is_the_file_the_cases_start_from(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    result = invoke("validate", path)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{path}: ok: 5 vehicles, 1 phase, 30 s\n"


def test_all_files_are_checked_before_the_exit(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("30s", "x"))
    result = invoke("validate", bad, good)
    assert result.exit_code == 2
    assert f"{good}: ok" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--set", "fleet.taxis.count=-1"], ["--set fleet.taxis.count=-1", "-1"]),
        (["--set", "fleet.trucks.count=1"], ["--set fleet.trucks.count=1", "trucks"]),
        (["--duration", "0s"], ["--duration", "0s"]),
        (["--duration", "fast"], ["--duration", "fast"]),
        (["--vehicles", "0"], ["--vehicles", "0"]),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    result = invoke("run", path, *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    for text in named:
        assert text in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--broker", "embedded", "--target", "aws"), "--broker or --target"),
        (("--broker", "local"), "allowed: embedded, mqtt://HOST:PORT"),
    ],
)
def test_a_broker_is_a_target_of_its_own(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, ["run", "scenarios/smoke.yaml", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_unknown_target_exits_with_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    result = invoke("run", path, "--target", "kafka://x")
    assert result.exit_code == 3
    assert "kafka://x" in result.stderr
    assert "allowed: local, aws, embedded, mqtt://HOST:PORT" in result.stderr


@pytest.mark.parametrize("command", ["run", "deploy", "status"])
def test_aws_without_credentials_is_refused_in_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    scenario = [path] if command == "run" else []
    result = invoke(command, *scenario, "--target", "aws", "--region", "eu-central-1")
    assert result.exit_code == 3, result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("error: aws: no usable credentials")


def test_init_writes_a_scenario_that_validates_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert invoke("init", path).exit_code == 0
    assert invoke("validate", path).exit_code == 0
    again = invoke("init", path)
    assert again.exit_code == 2
    assert str(path) in again.stderr


def test_schema_is_one_json_document() -> None:
    document = json.loads(invoke("schema").stdout)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_folder_that_is_no_run_has_no_report(tmp_path: Path) -> None:
    result = invoke("report", tmp_path)
    assert result.exit_code == 2
    assert "summary.json" in result.stderr


def test_every_command_has_help_with_examples() -> None:
    for name, command in main.commands.items():
        inner = list(command.commands) if isinstance(command, click.Group) else []
        for words in [[name, sub] for sub in inner] or [[name]]:
            result = invoke(*words, "--help")
            assert result.exit_code == 0
            assert "Examples" in result.output, words
            assert f"fleet-sim {' '.join(words)}" in result.output, words
    assert __version__ in invoke("--version").output


def test_the_two_lists_of_exit_codes_agree() -> None:
    assert EXIT_CODES == {
        "passed": ExitCode.PASSED,
        "threshold_broken": ExitCode.THRESHOLD,
        "target_failed": ExitCode.TARGET,
        "generator_overloaded": ExitCode.OVERLOADED,
        "interrupted": ExitCode.INTERRUPTED,
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--backfill", "36h"], "'36h' (allowed: 1d..90d, whole days)"),
        (["--backfill", "91d"], "'91d' (allowed: 1d..90d, whole days)"),
        (["--backfill", "soon"], "soon"),
        (["--backfill", "2d", "--out", "x"], "--out: not together with --backfill"),
        ([], "--out: missing"),
    ],
)
def test_a_wrong_backfill_is_one_line(tmp_path: Path, options: list[str], says: str) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    result = invoke("generate", tmp_path / "s.yaml", *options)
    assert result.exit_code == 2, result.output
    assert says in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output
