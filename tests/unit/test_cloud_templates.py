"""The templates: what they share with the code, and who may do what."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet_sim.cloud import deploy, package
from fleet_sim.contract import TELEMETRY_RULE_SQL, health
from fleet_sim.contract.health import PRESENCE_RULE_SQL
from fleet_sim.contract.tables import SPOTS_BY_CELL
from fleet_sim.resources import data_dir

INFRA = data_dir("infra")
LAMBDAS = data_dir("lambdas")


class _Loader(yaml.SafeLoader):
    """`!Ref X` becomes `{"Ref": "X"}`, as in CloudFormation's JSON."""


def _intrinsic(loader: Any, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    return {tag: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _intrinsic)


def template(name: str) -> dict[str, Any]:
    text = (INFRA / f"{name}.yaml").read_text()
    found: dict[str, Any] = yaml.load(text, _Loader)
    return found


TEMPLATES = {name: template(name) for name in deploy.STACKS}
RESOURCES = {
    f"{name}/{key}": resource
    for name, document in TEMPLATES.items()
    for key, resource in document["Resources"].items()
}


def of_type(kind: str) -> dict[str, Any]:
    found = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == kind}
    assert found, f"no {kind} in the templates: this test would test nothing"
    return found


def statements() -> list[tuple[str, dict[str, Any]]]:
    """All policy statements of roles, with the role's name."""
    found = []
    for name, role in of_type("AWS::IAM::Role").items():
        for policy in role["Policies"]:
            found += [(name, item) for item in policy["PolicyDocument"]["Statement"]]
    return found


def test_every_template_is_deployed() -> None:
    assert {file.stem for file in INFRA.glob("*.yaml")} == set(deploy.STACKS)


def test_a_template_fits_into_a_request() -> None:
    # CloudFormation, "Quotas": 51,200 bytes of template body in a request.
    for file in INFRA.glob("*.yaml"):
        assert file.stat().st_size < 51_200


def test_the_rule_is_the_contracts() -> None:
    rule = of_type("AWS::IoT::TopicRule")["pipeline/TelemetryRule"]
    payload = rule["TopicRulePayload"]
    assert payload["Sql"] == TELEMETRY_RULE_SQL
    assert payload["AwsIotSqlVersion"] == "2016-03-23"
    (action,) = payload["Actions"]
    assert action["Kinesis"]["PartitionKey"] == "${topic(2)}"
    assert "Sqs" in payload["ErrorAction"]


def test_the_rule_of_job_events_takes_them_all() -> None:
    payload = of_type("AWS::IoT::TopicRule")["ota/JobRule"]["TopicRulePayload"]
    assert payload["Sql"] == "SELECT * FROM '$aws/events/jobExecution/#'"
    assert "Sqs" in payload["ErrorAction"]


def test_every_route_of_the_operators_api_asks_for_a_signature() -> None:
    routes = {n: r for n, r in of_type("AWS::ApiGatewayV2::Route").items() if "ota/" in n}
    # Not ANY: nobody can sign the preflight of a page.
    paths = ("/campaigns", "/campaigns/{proxy+}")
    assert {r["RouteKey"] for r in routes.values()} == {
        f"{method} {path}" for method in ("GET", "POST") for path in paths
    }
    assert {r["AuthorizationType"] for r in routes.values()} == {"AWS_IAM"}


def test_the_rule_of_presence_is_the_contracts() -> None:
    rule = of_type("AWS::IoT::TopicRule")["health/PresenceRule"]
    assert rule["TopicRulePayload"]["Sql"] == PRESENCE_RULE_SQL
    assert "Sqs" in rule["TopicRulePayload"]["ErrorAction"]


def test_alarms_watch_metrics_that_the_contract_names() -> None:
    contracts = {value for value in vars(health).values() if isinstance(value, health.Metric)}
    watched = {
        health.Metric(stat["Metric"]["Namespace"], stat["Metric"]["MetricName"])
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
        for query in alarm["Metrics"]
        if (stat := query.get("MetricStat")) and stat["Metric"]["Namespace"] != "AWS/Lambda"
    }
    assert watched == {
        health.LATENCY, health.VEHICLES_ONLINE, health.VEHICLES_LOST, health.UPDATE_SUCCESS_RATE
    }  # fmt: skip
    assert watched <= contracts


def test_every_alarm_tells_of_both_changes() -> None:
    for name, alarm in of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}], name


def test_every_functions_errors_are_watched() -> None:
    alarm = of_type("AWS::CloudWatch::Alarm")["alarms/LambdaErrorsAlarm"]
    watched = {
        str(query["MetricStat"]["Metric"]["Dimensions"][0]["Value"]["Ref"])
        for query in alarm["Metrics"]
        if "MetricStat" in query
    }
    functions = {name.split("/")[1] for name in of_type("AWS::Lambda::Function")}
    assert watched == functions


def test_the_dashboard_is_json_about_metrics_that_there_are() -> None:
    (dashboard,) = of_type("AWS::CloudWatch::Dashboard").values()
    body = json.loads(re.sub(r"\$\{[A-Za-z:.]+\}", "1", dashboard["DashboardBody"]["Sub"]))
    rows = [row for widget in body["widgets"] for row in widget["properties"].get("metrics", ())]
    shown = {health.Metric(*row[:2]) for row in rows if isinstance(row[0], str)}
    own = {metric for metric in shown if not metric.namespace.startswith("AWS/")}
    assert own == {value for value in vars(health).values() if isinstance(value, health.Metric)}
    assert sum(widget["type"] == "alarm" for widget in body["widgets"]) == 1


def test_the_index_is_the_contracts() -> None:
    spots = of_type("AWS::DynamoDB::Table")["pipeline/SpotsTable"]
    assert [index["IndexName"] for index in spots["GlobalSecondaryIndexes"]] == [SPOTS_BY_CELL]


def test_a_stacks_parameters_come_from_somewhere() -> None:
    """Without a default it must be a package, or an output of an earlier stack."""
    known = {"ArtifactBucket"}
    known |= {"".join(p.title() for p in f.split("_")) + "Code" for f in package.FUNCTIONS}
    for name in deploy.STACKS:
        document = TEMPLATES[name]
        for key, parameter in document["Parameters"].items():
            assert "Default" in parameter or key in known, f"{name}: {key}"
        known |= document["Outputs"].keys()


def test_packages_run_on_what_the_templates_allow() -> None:
    for runtime in (package.local_runtime(), package.aws_runtime(), package.aws_runtime("arm64")):
        for parameters in (d["Parameters"] for d in TEMPLATES.values()):
            if "Runtime" not in parameters:
                continue  # it has no function
            assert runtime.lambda_name in parameters["Runtime"]["AllowedValues"]
            assert runtime.architecture in parameters["Architecture"]["AllowedValues"]


class TestRoles:
    def test_no_statement_allows_everything(self) -> None:
        for name, statement in statements():
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                assert "*" not in action, f"{name}: {action}"
            resources = statement["Resource"]
            for resource in resources if isinstance(resources, list) else [resources]:
                # These two services' actions know no resources (Service Authorization Reference).
                free = {"cloudwatch:PutMetricData", "xray:PutTraceSegments"} & set(
                    [actions] if isinstance(actions, str) else actions
                )
                assert resource != "*" or free, name

    def test_every_function_is_traced(self) -> None:
        for name, function in of_type("AWS::Lambda::Function").items():
            assert function["TracingConfig"] == {"Mode": "Active"}, name
            role = f"{name.split('/')[0]}/{function['Role']['GetAtt'].split('.')[0]}"
            actions = [
                action
                for owner, statement in statements()
                if owner == role
                for action in statement["Action"]
            ]
            assert "xray:PutTraceSegments" in actions, name

    def test_metrics_are_put_into_own_namespaces_only(self) -> None:
        bounds = [
            statement["Condition"]["StringEquals"]["cloudwatch:namespace"]
            for _, statement in statements()
            if "cloudwatch:PutMetricData" in statement["Action"]
        ]
        assert bounds
        assert all(not name.startswith("AWS/") for bound in bounds for name in bound)

    def test_one_role_a_function(self) -> None:
        roles = [str(function["Role"]) for function in of_type("AWS::Lambda::Function").values()]
        assert len(set(roles)) == len(roles)

    def test_the_api_only_reads(self) -> None:
        allowed = {
            action
            for name, statement in statements()
            if name == "api/ApiRole" and not re.search("logs:|xray:", str(statement["Action"]))
            for action in (
                [statement["Action"]]
                if isinstance(statement["Action"], str)
                else statement["Action"]
            )
        }
        assert allowed == {
            "dynamodb:GetItem",
            "dynamodb:Query",
            "dynamodb:Scan",
            "s3:GetObject",
            "s3:ListBucket",
        }


class TestVehiclePolicy:
    def statements(self) -> list[dict[str, Any]]:
        (policy,) = of_type("AWS::IoT::Policy").values()
        found: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
        return found

    def test_every_resource_is_bound_to_the_things_own_name(self) -> None:
        for statement in self.statements():
            assert statement["Effect"] == "Allow"
            resources = statement["Resource"]
            for resource in resources if isinstance(resources, list) else [resources]:
                text = resource["Sub"]
                name = "${!iot:Connection.Thing.ThingName}"
                assert text.count(name) == 1
                # Nothing that matches others stands before the name.
                assert "*" not in text.split(name)[0]

    def test_no_action_is_a_wildcard(self) -> None:
        assert {statement["Action"] for statement in self.statements()} == {
            "iot:Connect",
            "iot:Publish",
            "iot:Subscribe",
            "iot:Receive",
        }


class TestData:
    def test_everything_at_rest_is_encrypted(self) -> None:
        for table in of_type("AWS::DynamoDB::Table").values():
            assert table["SSESpecification"]["SSEEnabled"] is True
            assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
        for queue in of_type("AWS::SQS::Queue").values():
            assert queue["SqsManagedSseEnabled"] is True
            assert queue["MessageRetentionPeriod"] == 14 * 86_400
        for stream in of_type("AWS::Kinesis::Stream").values():
            assert stream["StreamEncryption"]["EncryptionType"] == "KMS"
        for bucket in of_type("AWS::S3::Bucket").values():
            assert bucket["BucketEncryption"]
            assert all(bucket["PublicAccessBlockConfiguration"].values())

    @pytest.mark.parametrize("name", ["VehiclesTable", "SpotsTable", "DataBucket"])
    def test_data_can_be_kept(self, name: str) -> None:
        resource = RESOURCES[f"pipeline/{name}"]
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"]
        assert list(resource["DeletionPolicy"].values()) == ["DataDeletionPolicy"]

    def test_buckets_refuse_plain_http(self) -> None:
        denied = set()
        for name, policy in of_type("AWS::S3::BucketPolicy").items():
            for statement in policy["PolicyDocument"]["Statement"]:
                statement = statement.get("Fn::If", [None, statement])[1]
                if statement["Effect"] == "Deny":
                    assert statement["Action"] == "s3:*"
                    assert statement["Principal"] == "*"
                    assert len(statement["Resource"]) == 2
                    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
                    denied.add(f"{name.split('/')[0]}/{policy['Bucket']['Ref']}")
        assert denied == set(of_type("AWS::S3::Bucket"))

    def test_topics_have_a_policy(self) -> None:
        # SNS Developer Guide: the default one lets everybody in the account publish.
        bound = {
            f"{name.split('/')[0]}/{topic['Ref']}"
            for name, policy in of_type("AWS::SNS::TopicPolicy").items()
            for topic in policy["Topics"]
        }
        assert bound == set(of_type("AWS::SNS::Topic"))

    def test_logs_end(self) -> None:
        functions = of_type("AWS::Lambda::Function").values()
        groups = of_type("AWS::Logs::LogGroup").values()
        assert all(group["RetentionInDays"] for group in groups)
        # A function without a group of the template makes one itself, which is kept for ever.
        names = sorted(str(group["LogGroupName"]).replace("/aws/lambda/", "") for group in groups)
        assert names == sorted(str(function["FunctionName"]) for function in functions)

    def test_a_batch_that_fails_for_ever_is_reported(self) -> None:
        mapping = of_type("AWS::Lambda::EventSourceMapping")["pipeline/TelemetryMapping"]
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["DestinationConfig"]["OnFailure"]["Destination"]
        assert mapping["BisectBatchOnFunctionError"] is True


WITH_IO = {
    "api.py",
    "archive.py",
    "clients.py",
    "handler.py",
    "jobs.py",
    "pipeline.py",
    "store.py",
    "table.py",
}
"""What is pure says so by not being here."""


class TestLambdaSources:
    @pytest.mark.parametrize("function", package.FUNCTIONS)
    def test_import_the_contract_and_nothing_else_of_ours(self, function: str) -> None:
        files = list((LAMBDAS / function).glob("*.py"))
        assert files
        for file in files:
            for module in imports(file):
                ours = module.split(".")[0] == "fleet_sim"
                assert not ours or module.startswith("fleet_sim.contract"), f"{file}: {module}"

    @pytest.mark.parametrize("function", package.FUNCTIONS)
    def test_logic_is_pure(self, function: str) -> None:
        for file in (LAMBDAS / function).glob("*.py"):
            if file.name not in WITH_IO:
                banned = {"os", "time", "random", "boto3", "botocore", "socket", "logging"}
                assert not banned & {module.split(".")[0] for module in imports(file)}, file

    def test_what_they_import_is_in_the_package(self) -> None:
        pinned = {
            re.split("==", line)[0].replace("-", "_")
            for line in (LAMBDAS / "requirements.txt").read_text().splitlines()
            if line and not line.startswith("#")
        }
        used = {"aws_lambda_powertools", "h3", "msgspec"}
        assert used <= pinned
        for line in (LAMBDAS / "requirements.txt").read_text().splitlines():
            assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), line


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found
