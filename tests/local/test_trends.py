"""Trends as deployed: an archive, the function under its role, the table, the API."""

import datetime as dt
import json
import urllib.request
from typing import Any

import msgspec

from fleet_sim.cloud import deploy, registry
from fleet_sim.cloud.local import Endpoints
from fleet_sim.cloud.target import Target, open_local
from fleet_sim.contract.trends import TrendIndex
from fleet_sim.engine import backfill
from fleet_sim.scenario import loads
from fleet_sim.world import build_cities

SCENARIO = (
    "name: trends\nseed: 3\ncity: {generate: {blocks: [4, 3]}}\n"
    "fleet: [{group: cars, count: 1}]\nphases: [{name: only, duration: 10s}]\n"
)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
        return body


class TestDeployed:
    def test_the_schedule_calls_the_function(self, deployed: Any) -> None:
        target, outputs = deployed
        events = target.client("events")
        [name] = events.list_rule_names_by_target(TargetArn=self.arn(target, outputs))["RuleNames"]
        assert events.describe_rule(Name=name)["ScheduleExpression"] == "cron(10 * * * ? *)"

    def test_it_may_do_what_it_does(self, local_aws: Endpoints) -> None:
        target = open_local(local_aws, "trending")
        outputs = deploy.deploy(target)
        # Ten minutes past the hour it would be called by another, and have done the work.
        events = target.client("events")
        [name] = events.list_rule_names_by_target(TargetArn=self.arn(target, outputs))["RuleNames"]
        events.disable_rule(Name=name)
        assert self.invoke(target, outputs) == {"hours": 0, "records": 0, "streets": 0, "left": 0}
        scenario = loads(SCENARIO)
        registry.upload(target, outputs, build_cities(scenario)[0].to_registry())
        hour = next(backfill.hours(scenario, 1, dt.datetime(2026, 6, 2, tzinfo=dt.UTC)))
        s3 = target.client("s3")
        s3.put_object(Bucket=outputs.data_bucket, Key=hour.key, Body=hour.body)
        told = self.invoke(target, outputs)
        assert (told["hours"], told["records"]) == (1, hour.records)
        index = msgspec.json.decode(get(f"{outputs.api_url}/trends"), type=TrendIndex)
        assert (len(index.streets), index.first_ms) == (told["streets"], 1_780_272_000_000)
        deploy.delete(target)

    def arn(self, target: Target, outputs: deploy.StackOutputs) -> str:
        client = target.client("lambda")
        found = client.get_function_configuration(FunctionName=outputs.trends_function)
        return found["FunctionArn"]

    def invoke(self, target: Target, outputs: deploy.StackOutputs) -> Any:
        answer = target.client("lambda").invoke(FunctionName=outputs.trends_function, Payload=b"{}")
        assert "FunctionError" not in answer, answer["Payload"].read()
        return json.loads(answer["Payload"].read())
