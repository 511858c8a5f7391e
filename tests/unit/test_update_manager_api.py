"""The operators' API and the driver's handler, as Lambda calls them."""

import json
import types
from typing import Any

import msgspec
import pytest
from campaign_fakes import FIRMWARE, FakeDynamo, FakeIot

from fleet_sim.contract.campaign_records import CampaignView
from update_manager import api, clients, handler, logic
from update_manager.driver import Driver
from update_manager.jobs import Jobs
from update_manager.logic import Event
from update_manager.planning import Vehicle
from update_manager.store import Store

ME = "arn:aws:iam::1:user/me"


class Service:
    """Both functions over one table and one Jobs service."""

    def __init__(self) -> None:
        self.iot = FakeIot()
        self.store = Store(FakeDynamo(), "campaigns")
        self.sent: list[str] = []
        self.started: list[str] = []
        self.samples: list[dict[str, Any]] = []
        self.driver = Driver(
            self.store,
            Jobs(self.iot, arn_prefix="arn:aws:iot:r:1", role_arn="arn:role"),
            fleet=lambda things: {f"V{i}": Vehicle(f"V{i}", version="1.0.0") for i in range(8)},
            tell=lambda campaign, action, detail: None,
            now_s=lambda: 1_000.0,
        )

    def client(self, name: str) -> Any:
        already = type("ExecutionAlreadyExists", (Exception,), {})

        def start_execution(**request: Any) -> None:
            if request["name"] in self.started:
                raise already
            self.started.append(request["name"])

        return {
            "sqs": types.SimpleNamespace(
                send_message=lambda **r: self.sent.append(r["MessageBody"])
            ),
            "stepfunctions": types.SimpleNamespace(
                start_execution=start_execution,
                exceptions=types.SimpleNamespace(ExecutionAlreadyExists=already),
            ),
            "cloudwatch": types.SimpleNamespace(
                put_metric_data=lambda **r: self.samples.extend(r["MetricData"])
            ),
        }[name]

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        who: str | None = ME,
        query: dict[str, str] | None = None,
        base64: bool = False,
    ) -> tuple[int, Any]:
        """`base64`: `body` is the text as it comes."""
        event = {
            "version": "2.0",
            "routeKey": "ANY /campaigns",
            "rawPath": path,
            "rawQueryString": "",
            "queryStringParameters": query or {},
            "headers": {},
            "requestContext": {
                "http": {"method": method, "path": path},
                "authorizer": {"iam": {"userArn": who}} if who else {},
                "stage": "$default",
            },
            "body": body if base64 or body is None else json.dumps(body),
            "isBase64Encoded": base64,
        }
        answer = api.handler(event, None)
        return answer["statusCode"], json.loads(answer["body"])

    def turn(self, name: str, turn: int = 0) -> dict[str, Any]:
        return handler.handler({"campaign": name, "turn": turn, "generation": 0}, None)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(clients, "store", lambda: made.store)
    monkeypatch.setattr(clients, "driver", lambda: made.driver)
    monkeypatch.setattr(clients, "client", made.client)
    monkeypatch.setenv("MACHINE_ARN", "arn:machine")
    monkeypatch.setenv("JOB_QUEUE_URL", "queue")
    monkeypatch.setenv("TICK_SECONDS", "60")
    return made


ASKED = {"id": "a", "firmware": FIRMWARE, "waves": {"shares": [0.5, 1.0], "soak_s": 0}}


def job_event(name: str, thing: str, status: str, reason: str) -> dict[str, Any]:
    body = {
        "eventType": "JOB_EXECUTION",
        "jobId": name,
        "thingArn": f"arn:aws:iot:r:1:thing/{thing}",
        "status": status,
        "timestamp": 1_000,
        "statusDetails": {"reason": reason},
    }
    return {"messageId": f"{thing}-{status}", "body": json.dumps(body)}


class TestApi:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/campaigns"), ("POST", "/campaigns"), ("GET", "/campaigns/a"),
            ("GET", "/campaigns/a/audit"), ("GET", "/campaigns/a/vehicles"),
            ("POST", "/campaigns/a/pause"), ("POST", "/campaigns/a/resume"),
            ("POST", "/campaigns/a/abort"), ("POST", "/campaigns/a/faults"),
            ("POST", "/campaigns/a/rollback"),
        ],
    )  # fmt: skip
    def test_nobody_without_a_name_is_answered(
        self, service: Service, method: str, path: str
    ) -> None:
        assert service.call("POST", "/campaigns", ASKED)[0] == 201
        status, body = service.call(method, path, ASKED, who=None)
        assert (status, body["title"]) == (403, "Forbidden")
        assert service.sent == []

    def test_asking_twice_makes_one(self, service: Service) -> None:
        assert service.call("POST", "/campaigns", ASKED)[0] == 201
        assert service.call("POST", "/campaigns", ASKED)[0] == 200
        status, body = service.call("POST", "/campaigns", {**ASKED, "template": "urgent"})
        assert (status, "of other content" in body["detail"]) == (409, True)
        assert service.started == ["a-0"]
        assert [c["id"] for c in service.call("GET", "/campaigns")[1]["campaigns"]] == ["a"]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"waves": {"shares": [0.5]}}, "waves.shares"),
            ({"gate": {"max_failed": 2}}, "$.gate.max_failed"),
            ({"speed": 2}, "unknown field `speed`"),
            ({"firmware": None}, "$.firmware"),
        ],
    )
    def test_a_bad_request_names_the_field(
        self, service: Service, change: dict[str, Any], says: str
    ) -> None:
        status, body = service.call("POST", "/campaigns", {**ASKED, **change})
        assert status == 400
        assert says in body["detail"]

    def test_what_is_not_there_is_not_found(self, service: Service) -> None:
        assert service.call("GET", "/campaigns/none")[0] == 404
        assert service.call("GET", "/campaigns/a/secrets")[0] == 404

    def test_vehicles_come_in_pages(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api, "PAGE", 5)
        service.call("POST", "/campaigns", ASKED)
        service.turn("a")
        first = service.call("GET", "/campaigns/a/vehicles")[1]
        rest = service.call("GET", "/campaigns/a/vehicles", query={"after": first["next"]})[1]
        things = [v["thing"] for v in first["vehicles"] + rest["vehicles"]]
        assert (len(first["vehicles"]), sorted(things)) == (5, [f"V{i}" for i in range(8)])
        assert rest["next"] is None
        status, _ = service.call("GET", "/campaigns/a/vehicles", query={"after": "audit#0"})
        assert status == 400

    def test_an_operators_step_is_written_logged_and_driven(self, service: Service) -> None:
        service.call("POST", "/campaigns", ASKED)
        service.turn("a")
        status, body = service.call("POST", "/campaigns/a/pause")
        assert (status, body["state"]) == (202, "paused")
        assert service.sent == ['{"drive":"a"}']
        assert service.call("POST", "/campaigns/a/pause")[0] == 409
        entries = service.call("GET", "/campaigns/a/audit")[1]["entries"]
        assert [(e["who"], e["action"]) for e in entries if e["who"] == ME] == [
            (ME, "create"), (ME, "pause"), (ME, "pause refused")
        ]  # fmt: skip
        assert "is paused (allowed for paused: running, soaking)" in entries[-1]["detail"]

    def test_what_was_refused_and_what_was_waived_is_in_the_log(self, service: Service) -> None:
        gate = {"on_failure": "pause"}
        service.call("POST", "/campaigns", {**ASKED, "gate": gate})
        service.call("POST", "/campaigns", {**ASKED, "template": "urgent"})
        service.turn("a")
        things = [t for (_, t) in service.iot.executions]
        events = [job_event("a-w0-a1-p0", t, "FAILED", "boot") for t in things]
        handler.handler({"Records": events}, None)
        service.call("POST", "/campaigns/a/resume")
        service.call("POST", "/campaigns/a/rollback", {"firmware": FIRMWARE})
        entries = service.call("GET", "/campaigns/a/audit")[1]["entries"]
        mine = [(e["action"], e["detail"]) for e in entries if e["who"] == ME]
        assert mine[1:] == [
            ("create refused", "there is a campaign a of other content (allowed: another id)"),
            ("resume", "wave 1: 4 failed are waived"),
            ("rollback refused", "campaign a is running (allowed for rollback: paused, aborted, "
             "completed)"),
        ]  # fmt: skip

    def test_a_rollback_is_for_those_that_were_updated(self, service: Service) -> None:
        service.call("POST", "/campaigns", ASKED)
        service.turn("a")
        assert service.call("POST", "/campaigns/a/rollback", {"firmware": FIRMWARE})[0] == 409
        done, *_ = things = [t for (_, t) in service.iot.executions]
        handler.handler(
            {"Records": [job_event("a-w0-a1-p0", done, "SUCCEEDED", "")]
             + [job_event("a-w0-a1-p0", t, "FAILED", "boot") for t in things[1:]]},
            None,
        )  # fmt: skip
        assert service.turn("a")["ended"]
        older = {**FIRMWARE, "version": "1.0.0"}
        status, body = service.call("POST", "/campaigns/a/rollback", {"firmware": older})
        assert (status, body["id"], body["version"]) == (201, "a-rollback", "1.0.0")
        last = service.call("GET", "/campaigns/a/audit")[1]["entries"][-1]
        assert (last["action"], last["detail"]) == (
            "rollback", "campaign a-rollback, firmware 1.0.0"
        )  # fmt: skip
        service.turn("a-rollback")
        vehicles = service.call("GET", "/campaigns/a-rollback/vehicles")[1]["vehicles"]
        assert [vehicle["thing"] for vehicle in vehicles] == [done]

    def test_faults_count_against_the_gate(self, service: Service) -> None:
        service.call("POST", "/campaigns", {**ASKED, "waves": {"shares": [1.0], "soak_s": 60}})
        service.turn("a")
        things = [t for (_, t) in service.iot.executions]
        events = [job_event("a-w0-a1-p0", t, "SUCCEEDED", "") for t in things]
        handler.handler({"Records": events}, None)
        assert service.call("POST", "/campaigns/a/faults", {"things": things[:1]})[0] == 202
        service.turn("a")
        view = msgspec.convert(service.call("GET", "/campaigns/a")[1], CampaignView)
        assert (view.state, view.waves[0].faulty, view.success_rate) == ("aborted", 1, 7 / 8)

    @pytest.mark.parametrize("body", ["/w==", "~"])
    def test_a_body_that_is_no_text_is_the_callers_fault(self, service: Service, body: str) -> None:
        status, answer = service.call("POST", "/campaigns", body, base64=True)
        assert status == 400
        assert answer["detail"].startswith("body: ")


class TestHandler:
    def test_a_turn_says_how_long_to_wait(self, service: Service) -> None:
        service.call("POST", "/campaigns", ASKED)
        answer = service.turn("a")
        assert answer == {
            "campaign": "a", "turn": 1, "generation": 0, "ended": False, "wait_s": 60
        }  # fmt: skip
        assert {s["MetricName"] for s in service.samples} == {"InProgress"}
        assert service.turn("nobody")["ended"]

    def test_an_execution_hands_over_before_its_history_is_full(self, service: Service) -> None:
        service.call("POST", "/campaigns", ASKED)
        answer = service.turn("a", handler.TURNS - 1)
        assert answer["ended"]
        assert service.started == ["a-0", "a-1"]
        service.turn("a", handler.TURNS - 1)  # Step Functions tries again
        assert service.started == ["a-0", "a-1"]

    def test_the_schedule_drives_what_has_not_ended(self, service: Service) -> None:
        service.call("POST", "/campaigns", ASKED)
        service.call("POST", "/campaigns", {**ASKED, "id": "b"})
        held = service.store.read("b")
        assert held is not None
        service.store.write(held, logic.advance(held.campaign, Event.ABORTED, 1.0))
        event = {"source": "aws.events", "detail-type": "Scheduled Event"}
        assert handler.handler(event, None) == {"driven": 2}
        assert handler.handler(event, None) == {"driven": 1}

    def test_a_campaign_that_cannot_be_driven_keeps_none_of_the_others(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a", "b", "c"):
            service.call("POST", "/campaigns", {**ASKED, "id": name})
        drive = service.driver.drive

        def drives(name: str, *, reconcile: bool) -> Any:
            if name == "b":
                raise RuntimeError("broken")
            return drive(name, reconcile=reconcile)

        monkeypatch.setattr(service.driver, "drive", drives)
        with pytest.raises(ExceptionGroup, match="campaigns could not be driven: b"):
            handler.handler({"source": "aws.events", "detail-type": "Scheduled Event"}, None)
        states = {name: service.store.read(name) for name in "abc"}
        assert {name: held and held.campaign.state for name, held in states.items()} == {
            "a": "running", "b": "planned", "c": "running"
        }  # fmt: skip

    def test_a_bad_message_comes_again_and_keeps_nobody_else(self, service: Service) -> None:
        service.call("POST", "/campaigns", ASKED)
        service.turn("a")
        thing = next(t for (_, t) in service.iot.executions)
        answer = handler.handler(
            {
                "Records": [
                    {"messageId": "bad", "body": "{"},
                    {"messageId": "other", "body": json.dumps(
                        {"jobId": "somebody-elses", "thingArn": "x/y", "status": "FAILED",
                         "timestamp": 1})},
                    job_event("a-w0-a1-p0", thing, "REJECTED", "signature"),
                ]
            },
            None,
        )  # fmt: skip
        assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
        target = service.store.target("a", 0, thing)
        assert target is not None
        assert (target.status, target.reason) == ("rejected", "signature")
