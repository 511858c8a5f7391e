"""What a fleet costs: against a calculation by hand, tier by tier, and by what must be so."""

import datetime as dt
import math
import re
from pathlib import Path

import msgspec
import pytest
import yaml

from fleet_sim import measure
from fleet_sim.measure.cost import (
    RegionError,
    Workload,
    bill,
    estimate,
    needs,
    prices,
    regions,
    savings,
)
from fleet_sim.measure.cost.prices import Figure

US = "us-east-1"
EXAMPLE = Workload(vehicles=10_000, messages_per_s=10_000, sizes={600: 1.0}, hours=720)
DOCS = Path(__file__).parents[2] / "docs" / "cost.md"


def change(**fields: object) -> Workload:
    return msgspec.structs.replace(EXAMPLE, **fields)


def test_tiers_are_paid_one_after_the_other() -> None:
    figure = Figure("x", "unit", ((10.0, 1.0), (50.0, 0.8), (math.inf, 0.7)), "", True)

    assert figure.usd(0) == 0
    assert figure.usd(10) == 10
    assert figure.usd(60) == pytest.approx(10 + 40 * 0.8 + 10 * 0.7)


def test_tiers_begin_anew_each_month() -> None:
    table = prices(US)
    month = table.usd("iot_message", 2e9, 730)

    assert month == pytest.approx(1000 + 800)
    assert table.usd("iot_message", 4e9, 1460) == pytest.approx(2 * month)
    assert table.usd("iot_message", 2e9, 1.0) == pytest.approx(month)


def test_the_example_of_the_docs_is_what_a_hand_calculates() -> None:
    """Each number here is worked out as docs/cost.md does, from prices written down anew."""
    messages = 10_000 * 720 * 3600
    assert messages == 25_920_000_000
    by_hand = {
        "connectivity": 10_000 * 720 * 60 / 1e6 * 0.08,
        "messages": 1_000 * 1.00 + 4_000 * 0.80 + (messages + 10_000 - 5e9) / 1e6 * 0.70,
        "rules": (messages + 20_000) / 1e6 * 0.15,
        "actions": (messages + 20_000) / 1e6 * 0.15,
        "shards": 13 * 720 * 0.015,
        "records": messages / 1e6 * 0.014,
        "duration": messages / 500 * (0.310 * 1.0 + 0.020 * 0.5) * 0.0000166667,
        "vehicles": messages * 2 / 1e6 * 0.625,
        "spots": messages * 0.2 * 2 / 1e6 * 0.625,
        "archive objects": messages / 500 / 1e3 * 0.005,
        "counters": messages / 500 * (1 + 0.2 + 8) * 2 / 1e6 * 0.625,
        "fleet health": (messages / 500 * 2 + 20_000) / 1e6 * 0.625,
        "archive reads": messages / 500 / 1e3 * 0.0004,
        "metric calls": messages / 500 / 100 * 3 / 1e3 * 0.01,
    }

    lines = {line.item: line.usd for line in bill(EXAMPLE, prices(US)).lines}

    for item, usd in by_hand.items():
        assert lines[item] == pytest.approx(usd, rel=1e-6), item
    assert lines["messages"] == pytest.approx(18_844.007, abs=0.001)


def test_the_docs_have_the_figures_of_the_example() -> None:
    text = DOCS.read_text()
    made = bill(EXAMPLE, prices(US))

    for line in made.lines:
        if line.usd >= 1:
            row = (
                re.escape(f"| {line.service} | {line.item} |")
                + r".*\| "
                + re.escape(f"{line.usd:,.2f} |")
            )
            assert re.search(row, text), line
    assert f"{made.usd:,.2f}" in text


def test_lines_add_up_and_services_too() -> None:
    made = bill(change(updates=10_000, firmware_bytes=1e9, api_per_s=50), prices(US))

    assert sum(line.usd for line in made.lines) == pytest.approx(made.usd)
    assert sum(made.by_service.values()) == pytest.approx(made.usd)
    assert list(made.by_service.values()) == sorted(made.by_service.values(), reverse=True)
    assert {"IoT Jobs", "API Gateway", "SQS"} <= set(made.by_service)


def test_a_message_is_metered_by_each_5_kb_begun_of_topic_and_payload() -> None:
    def messages(size: int) -> float:
        made = bill(change(sizes={size: 1.0}), prices(US))
        return next(line.quantity for line in made.lines if line.item == "messages")

    topic = len("fleet/12345678901234567/telemetry")
    assert messages(5 * 1024 - topic) == pytest.approx(EXAMPLE.messages + 10_000)
    assert messages(5 * 1024 - topic + 1) == pytest.approx(2 * EXAMPLE.messages + 10_000)


def test_a_stream_on_demand_is_billed_by_each_kilobyte_begun() -> None:
    made = bill(change(stream="on_demand", sizes={1000: 0.5, 100: 0.5}), prices(US))
    gigabytes = next(line.quantity for line in made.lines if line.item == "data in")

    # 1,000 bytes and what the rule adds are more than 1 KB.
    assert gigabytes == pytest.approx(EXAMPLE.messages * (2 + 1) / 2 / 1024**2)


def test_a_month_costs_the_same_whatever_was_measured() -> None:
    """What is proportional to time, is: a run of a minute says what a month would cost."""
    minute = bill(change(hours=1 / 60), prices(US))
    day = bill(change(hours=24), prices(US))

    assert minute.usd_per_month == pytest.approx(day.usd_per_month)
    assert minute.usd_per_month == pytest.approx(sum(x.usd_per_month for x in minute.lines))
    updates = change(hours=1 / 60, updates=100, firmware_bytes=1e9)
    once = bill(updates, prices(US)).usd - minute.usd
    assert bill(updates, prices(US)).usd_per_month - minute.usd_per_month == pytest.approx(
        once, rel=1e-3
    )
    assert once == pytest.approx(100 * (0.003 + 1e9 / 1024**3 * 0.09), rel=0.05)
    assert minute.usd_per_vehicle_month == pytest.approx(minute.usd_per_month / 10_000)


def test_shards_follow_records_or_bytes_whichever_are_more() -> None:
    assert change(messages_per_s=800).shards == 1
    assert change(messages_per_s=801).shards == 2
    assert change(messages_per_s=800, sizes={2048 - 51: 1.0}).shards == 2
    assert change(messages_per_s=0.1).shards == 1


def test_a_saving_is_the_difference_of_two_bills() -> None:
    now = bill(EXAMPLE, prices(US)).usd
    found = {saving.change.split(":")[0]: saving for saving in savings(EXAMPLE, prices(US))}

    basic = found["basic ingest"]
    assert basic.usd == pytest.approx(now - bill(change(basic_ingest=True), prices(US)).usd)
    assert basic.share == pytest.approx(basic.usd / now)
    assert basic.usd_per_month == pytest.approx(
        bill(EXAMPLE, prices(US)).usd_per_month
        - bill(change(basic_ingest=True), prices(US)).usd_per_month
    )
    assert all(saving.usd > 0 for saving in found.values())
    # Below 5 KB there is nothing to be won by a smaller payload.
    assert not any("5 KB" in name for name in found)
    assert any("5 KB" in s.change for s in savings(change(sizes={6000: 1.0}), prices(US)))


@pytest.mark.parametrize(
    ("fields", "quota"),
    [
        ({"vehicles": 500_001}, "concurrent client connections"),
        ({"messages_per_s": 20_001}, "inbound publish"),
        ({"messages_per_s": 20_001}, "rule evaluations"),
        ({"vehicles": 300_001}, "connect requests"),
        ({"messages_per_s": 1_000_001}, "publish requests per second per connection"),
        ({"messages_per_s": 20_001, "vehicles": 20_001}, "(vehicles)"),
        ({"api_per_s": 10_001}, "API Gateway"),
        ({"messages_per_s": 16_500_000, "stream": "on_demand"}, "on-demand write"),
        ({"messages_per_s": 10_000, "lambda_ms": 60_000.0}, "concurrent executions"),
    ],
)
def test_a_quota_is_met_just_above_its_default(fields: dict[str, float], quota: str) -> None:
    before = {need.quota: need for need in needs(EXAMPLE, US)}
    after = {need.quota: need for need in needs(change(**fields), US)}
    (name,) = [name for name in after if quota in name]

    assert after[name].hit
    assert after[name].needed > after[name].default
    if name in before:
        assert not before[name].hit


def test_a_million_vehicles_in_frankfurt_need_more_shards_than_there_are() -> None:
    work = change(vehicles=1_000_000, messages_per_s=1_000_000)

    assert work.shards == 1250
    hit = {need.quota for need in needs(work, "eu-central-1") if need.hit}
    assert "Kinesis: shards per account" in hit
    assert "Kinesis: shards per account" not in {n.quota for n in needs(work, US) if n.hit}


def test_kinesis_takes_more_on_demand_in_three_regions() -> None:
    work = change(messages_per_s=330_000, stream="on_demand")

    for region, hit in ((US, False), ("eu-west-1", False), ("eu-central-1", True)):
        (need,) = [n for n in needs(work, region) if "on-demand write" in n.quota]
        assert need.hit == hit


def test_a_quotation_is_of_a_figure_that_was_compared_with_one() -> None:
    table = Path(measure.__file__).parent / "cost" / "prices.yaml"
    for name, entry in yaml.safe_load(table.read_text())["figures"].items():
        assert set(entry.get("quoted", {})) <= set(entry["seen"]) <= set(regions()), name
        assert all(entry.get("quoted", {}).values()), name


def test_an_unknown_region_is_refused_with_those_there_are() -> None:
    with pytest.raises(RegionError, match=r"'mars-1' .*eu-central-1"):
        estimate(EXAMPLE, "mars-1")
    assert set(regions()) == {US, "eu-west-1", "eu-central-1", "ap-southeast-2"}


def test_the_table_is_dated_sourced_and_falls_with_volume() -> None:
    table = yaml.safe_load((Path(measure.__file__).parent / "cost" / "prices.yaml").read_text())
    assert table["dated"] <= dt.date.today()
    for region in regions():
        for figure in prices(region).figures.values():
            assert figure.source.startswith("aws.amazon.com/"), figure
            usd = [price for _, price in figure.tiers]
            assert usd == sorted(usd, reverse=True), figure
            assert all(price > 0 for price in usd)
            ends = [end for end, _ in figure.tiers]
            assert ends == sorted(ends)
            assert ends[-1] == math.inf
    assert "iot_message" not in bill(EXAMPLE, prices(US)).unchecked
    assert "iot_message" in bill(EXAMPLE, prices("ap-southeast-2")).unchecked
