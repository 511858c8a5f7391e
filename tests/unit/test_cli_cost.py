"""`fleet-sim cost`: a described fleet, a run, and what is refused."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from test_report_sample import make_run

from fleet_sim.cli import main
from fleet_sim.measure.cost import Workload, estimate
from fleet_sim.measure.summary import to_json


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["cost", *arguments])


def test_a_fleet_that_is_described() -> None:
    asked = ["--vehicles", "10000", "--rate", "1", "--size", "600", "--hours", "720"]
    done = call(*asked, "--json")

    assert done.exit_code == 0, done.output
    work = Workload(vehicles=10_000, messages_per_s=10_000, sizes={600: 1.0}, hours=720)
    assert json.loads(done.output) == json.loads(msgspec.json.encode(estimate(work, "us-east-1")))
    assert "$67,433.78" in call(*asked).output


def test_options_reach_the_workload() -> None:
    done = call(
        *("--vehicles", "10", "--basic-ingest", "--stream", "on-demand", "--firmware", "500"),
        *("--updates", "5", "--api-rate", "2", "--architecture", "arm64", "--json"),
    )

    work = json.loads(done.output)["workload"]
    assert (work["basic_ingest"], work["stream"]) == (True, "on_demand")
    assert (work["firmware_bytes"], work["updates"], work["api_per_s"]) == (5e8, 5, 2)
    assert work["architecture"] == "arm64"


def test_a_quota_that_is_exceeded_is_99() -> None:
    done = call("--vehicles", "1000000", "--region", "eu-central-1")

    assert done.exit_code == 99
    assert "EXCEEDED" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "neither RUN_DIR nor --vehicles"),
        (("--vehicles", "0"), "--vehicles"),
        (("--vehicles", "5", "--region", "moon-1"), "'moon-1' is not in the price table (allowed:"),
        (("nowhere",), "nowhere: not a run folder"),
        (("nowhere", "--rate", "2"), "--rate: a run has its own"),
    ],
)
def test_what_is_refused_is_named(arguments: tuple[str, ...], said: str) -> None:
    done = call(*arguments)

    assert done.exit_code == 2
    assert said in done.output


def test_a_run_is_priced_again_for_another_region(tmp_path: Path) -> None:
    priced = make_run(tmp_path, vehicles=20, blocks=(2, 2))
    assert priced.cost is not None

    assert json.loads(call(str(tmp_path), "--json").output)["bill"]["region"] == "eu-west-1"
    moved = json.loads(call(str(tmp_path), "--json", "--region", "eu-central-1").output)
    (line,) = [x for x in moved["bill"]["lines"] if x["item"] == "messages"]
    row = [x for x in call(str(tmp_path)).output.splitlines() if "message of 5 KB" in x]
    assert line["usd_per_month"] > line["usd"]
    assert len(row) == 1
    assert re.search(r"\d+\.\d\d +\d+\.\d\d *$", row[0])  # the run, and a month
    assert moved["bill"]["usd"] > priced.cost.bill.usd
    assert moved["workload"] == json.loads(msgspec.json.encode(priced.cost.workload))
    unpriced = msgspec.structs.replace(priced, cost=None)
    (tmp_path / "summary.json").write_bytes(to_json(unpriced))
    assert "cost: null" in call(str(tmp_path)).output
