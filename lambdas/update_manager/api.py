"""Lambda entry point of the campaigns' HTTP API: who is allowed, what is asked, what is answered.

API Gateway checks the caller's signature and policy (AWS_IAM). A call that comes without the
identity of a caller is refused here once more: the audit log has nobody without a name.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from fleet_sim.contract.api import Problem
from fleet_sim.contract.campaign_records import (
    ENDED,
    AuditEntry,
    AuditLog,
    CampaignList,
    Target,
    TargetPage,
)
from fleet_sim.contract.campaigns import CampaignRequest, Fault, Rollback, plan_of
from fleet_sim.contract.http import UNEXPECTED, fresh_parts, problem_parts, request_line
from update_manager import clients, logic, views
from update_manager.driver import broken
from update_manager.handler import start_machine
from update_manager.logic import Campaign, Event, NotAllowedError
from update_manager.store import ExistsError, Held, TooLongError

logger = Logger()
app = APIGatewayHttpResolver()

PAGE = 1_000
"""Vehicles a page of a campaign's vehicles."""
_PAGE = re.compile(r"(?:(?P<wave>[0-9]{1,2})[.](?P<thing>[a-zA-Z0-9:_-]{1,128}))?")
_T = TypeVar("_T")


class ProblemError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(HTTPStatus(status).phrase, status, detail)


# --- routes ---------------------------------------------------------------------------------------


@app.post("/campaigns")
def create() -> Response[str]:
    _caller()
    return _create(_body(CampaignRequest))


@app.get("/campaigns")
def campaigns() -> Response[str]:
    _caller()
    store = clients.store()
    held = [found for name in store.ids() if (found := store.read(name)) is not None]
    held.sort(key=lambda found: found.campaign.created_ms)
    return _json(CampaignList([views.summary(found.campaign) for found in held]))


@app.get("/campaigns/<campaign_id>")
def campaign(campaign_id: str) -> Response[str]:
    return _shown(_held(campaign_id).campaign)


@app.get("/campaigns/<campaign_id>/vehicles")
def vehicles(campaign_id: str) -> Response[str]:
    _held(campaign_id)
    after = (app.current_event.query_string_parameters or {}).get("after", "")
    begin = _PAGE.fullmatch(after)
    if begin is None:
        raise ProblemError(400, f"after: {after!r} is no page (allowed: what `next` said)")
    last = (int(begin["wave"]), begin["thing"]) if after else None
    found, more = clients.store().page(campaign_id, last, PAGE)
    rest = f"{found[-1].wave}.{found[-1].thing}" if more else None
    return _json(TargetPage(found, rest))


@app.get("/campaigns/<campaign_id>/audit")
def audit(campaign_id: str) -> Response[str]:
    _held(campaign_id)
    return _json(AuditLog(clients.store().audit(campaign_id)))


@app.post("/campaigns/<campaign_id>/pause")
def pause(campaign_id: str) -> Response[str]:
    return _act(campaign_id, "pause", lambda c, now: logic.advance(c, Event.PAUSED, now))


@app.post("/campaigns/<campaign_id>/resume")
def resume(campaign_id: str) -> Response[str]:
    return _act(campaign_id, "resume", lambda c, now: logic.resume(c, _targets(c), now))


@app.post("/campaigns/<campaign_id>/abort")
def abort(campaign_id: str) -> Response[str]:
    reason = f"aborted by {_caller()}"
    return _act(campaign_id, "abort", lambda c, now: logic.advance(c, Event.ABORTED, now, reason))


@app.post("/campaigns/<campaign_id>/faults")
def faults(campaign_id: str) -> Response[str]:
    """Vehicles that broke after they were updated: they count against their wave's gate."""
    held, fault = _held(campaign_id), _body(Fault)
    found = broken(clients.store(), campaign_id, fault.things, fault.reason)
    _note(campaign_id, "faults", f"{found} of {len(fault.things)} new: {fault.reason}")
    _drive_soon(campaign_id)
    return _shown(held.campaign, HTTPStatus.ACCEPTED)


@app.post("/campaigns/<campaign_id>/rollback")
def rollback(campaign_id: str) -> Response[str]:
    """A campaign of its own, for the vehicles that this one has updated."""
    held, wanted = _held(campaign_id), _body(Rollback)
    if held.campaign.state not in (*ENDED, "paused"):
        raise _refused(
            campaign_id,
            "rollback",
            409,
            f"campaign {campaign_id} is {held.campaign.state} (allowed for rollback: paused, "
            "aborted, completed)",
        )
    whom = views.updated(held.campaign, _targets(held.campaign))
    if not whom:
        raise _refused(campaign_id, "rollback", 422, "no vehicle runs its version (allowed: 1 up)")
    request = CampaignRequest(
        firmware=wanted.firmware,
        id=wanted.id or f"{campaign_id[:23]}-rollback",
        template=wanted.template,
        vehicles=tuple(whom),
        preconditions=held.campaign.request.preconditions,
        clock=held.campaign.plan.clock,
    )
    answer = _create(request)
    _note(campaign_id, "rollback", f"campaign {request.id}, firmware {wanted.firmware.version}")
    return answer


# --- what they share ------------------------------------------------------------------------------


def _create(request: CampaignRequest) -> Response[str]:
    try:
        plan = plan_of(request)
    except ValueError as error:
        raise ProblemError(400, str(error)) from None
    name = request.id or f"u-{uuid.uuid4().hex[:12]}"
    listed = None if request.vehicles is None else list(request.vehicles)
    kept = msgspec.structs.replace(request, id=name, vehicles=None)
    made = Campaign(name, kept, plan, _caller(), int(time.time() * 1e3))
    store = clients.store()
    status = HTTPStatus.CREATED
    try:
        store.create(made, listed, _entry("create", f"firmware {request.firmware.version}"))
    except TooLongError as error:
        raise ProblemError(422, str(error)) from None
    except ExistsError:
        made = _held(name).campaign
        if made.request != kept or store.vehicles(name) != listed:
            says = f"there is a campaign {name} of other content (allowed: another id)"
            raise _refused(name, "create", 409, says) from None
        status = HTTPStatus.OK
    start_machine(name, 0)
    return _shown(made, status)


def _act(
    campaign_id: str, action: str, step: Callable[[Campaign, float], Campaign]
) -> Response[str]:
    """An operator's step; whoever changed the campaign meanwhile is heard first."""
    while True:
        held = _held(campaign_id)
        try:
            moved = step(held.campaign, time.time())
        except NotAllowedError as error:
            raise _refused(campaign_id, action, 409, str(error)) from None
        entry = _entry(action, _waived(held.campaign, moved))
        if clients.store().write(held, moved, (), [entry]) is not None:
            _drive_soon(campaign_id)
            return _shown(moved, HTTPStatus.ACCEPTED)


def _waived(before: Campaign, after: Campaign) -> str:
    """What of a gate an operator leaves out from now on."""
    wave = before.stopped_wave
    if wave is None or after.waived.get(wave) == before.waived.get(wave):
        return ""
    waived = after.waived[wave]
    silence = ", and that too few have answered" if waived.unanswered else ""
    return f"wave {wave + 1}: {waived.bad} failed are waived{silence}"


def _drive_soon(campaign_id: str) -> None:
    clients.client("sqs").send_message(
        QueueUrl=os.environ["JOB_QUEUE_URL"],
        MessageBody=msgspec.json.encode({"drive": campaign_id}).decode(),
    )


def _held(campaign_id: str) -> Held:
    _caller()
    held = clients.store().read(campaign_id)
    if held is None:
        raise ProblemError(404, f"there is no campaign {campaign_id}")
    return held


def _targets(campaign: Campaign) -> list[Target]:
    if not campaign.sizes:
        return []
    return clients.store().targets(campaign.id, campaign.wave + 1)


def _caller() -> str:
    """ARN of who asks."""
    context = app.current_event.raw_event.get("requestContext", {})
    iam = context.get("authorizer", {}).get("iam") or {}
    arn: str = iam.get("userArn") or ""
    if not arn:
        raise ProblemError(403, "the call is not signed by anyone known here")
    return arn


def _entry(action: str, detail: str = "") -> AuditEntry:
    return AuditEntry(int(time.time() * 1e3), _caller(), action, detail)


def _note(campaign_id: str, action: str, detail: str) -> None:
    clients.store().note(campaign_id, _entry(action, detail))


def _refused(campaign_id: str, action: str, status: int, detail: str) -> ProblemError:
    """Who wanted it and could not have it is in the log, too."""
    _note(campaign_id, f"{action} refused", detail)
    return ProblemError(status, detail)


def _body(kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(app.current_event.decoded_body or "", type=kind)
    except (msgspec.DecodeError, ValueError) as error:  # the latter: no base64, or no text
        raise ProblemError(400, f"body: {error}") from None


def _shown(campaign: Campaign, status: HTTPStatus = HTTPStatus.OK) -> Response[str]:
    return _json(views.view(campaign, _targets(campaign)), status)


def _json(body: msgspec.Struct, status: int = 200) -> Response[str]:
    return Response(**fresh_parts(body, status))


def _problem(problem: Problem) -> Response[str]:
    return Response(**problem_parts(problem))


# --- errors ---------------------------------------------------------------------------------------


@app.exception_handler(ProblemError)  # type: ignore[untyped-decorator]
def problem_answer(error: ProblemError) -> Response[str]:
    return _problem(error.problem)


@app.not_found
def no_route(_: NotFoundError) -> Response[str]:
    event = app.current_event
    detail = f"{event.http_method} {event.path} is nothing that is answered here"
    return _problem(Problem("Not found", 404, detail))


@app.exception_handler(Exception)  # type: ignore[untyped-decorator]
def unexpected(error: Exception) -> Response[str]:
    logger.exception("unexpected error", exc_info=error)
    return _problem(UNEXPECTED)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    answer: dict[str, Any] = app.resolve(event, context)
    logger.info("request", **request_line(event, answer))
    return answer
