"""The campaign service of a deployed stack, from the operator's side: signed calls of its API."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import boto3
import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session

from fleet_sim.cloud.target import Target
from fleet_sim.contract.campaign_records import AuditEntry, AuditLog, CampaignView, TargetPage
from fleet_sim.contract.campaign_records import Target as VehicleRecord
from fleet_sim.contract.campaigns import CampaignRequest, Fault

_T = TypeVar("_T")
_SERVICE = "execute-api"


class CampaignError(RuntimeError):
    """The campaign service refused, or did not answer; one line for a user."""


class Campaigns:
    """`url`: the API's base. Its calls block; every one is signed with the target's credentials."""

    def __init__(self, target: Target, url: str) -> None:
        self._target, self._url = target, url
        self._http = URLLib3Session(timeout=30)

    def start(self, request: CampaignRequest) -> CampaignView:
        """Asking again with the same content makes no second one."""
        return self._call("POST", "/campaigns", CampaignView, request)

    def view(self, campaign_id: str) -> CampaignView:
        return self._call("GET", f"/campaigns/{campaign_id}", CampaignView)

    def abort(self, campaign_id: str) -> None:
        self._call("POST", f"/campaigns/{campaign_id}/abort", CampaignView)

    def fault(self, campaign_id: str, things: list[str], reason: str) -> None:
        """Vehicles broke after they had been updated."""
        fault = Fault(things=tuple(things), reason=reason)
        self._call("POST", f"/campaigns/{campaign_id}/faults", CampaignView, fault)

    def vehicles(self, campaign_id: str) -> list[VehicleRecord]:
        """All records."""
        found: list[VehicleRecord] = []
        after = ""
        while True:
            page = self._call("GET", f"/campaigns/{campaign_id}/vehicles{after}", TargetPage)
            found += page.vehicles
            if not page.next:
                return found
            after = f"?after={page.next}"

    def audit(self, campaign_id: str) -> list[AuditEntry]:
        return self._call("GET", f"/campaigns/{campaign_id}/audit", AuditLog).entries

    # -- inside -----------------------------------------------------------------------------------

    def _call(
        self, method: str, path: str, kind: type[_T], body: msgspec.Struct | None = None
    ) -> _T:
        data = b"" if body is None else msgspec.json.encode(body)
        request = AWSRequest(
            method, self._url + path, {"Content-Type": "application/json"}, data or None
        )
        signer(self._target).add_auth(request)
        try:
            answer = self._http.send(request.prepare())
        except BotoCoreError as error:
            raise CampaignError(f"campaigns: {method} {path}: {error}") from error
        if answer.status_code >= 300:
            raise CampaignError(
                f"campaigns: {method} {path}: {answer.status_code} {_detail(answer.content)}"
            )
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise CampaignError(f"campaigns: {method} {path}: {error}") from error


def signer(target: Target) -> SigV4Auth:
    """Signs calls of the campaigns' API. `CampaignError` without credentials."""
    return SigV4Auth(_credentials(target), _SERVICE, target.region)


def _credentials(target: Target) -> Credentials:
    if target.local:  # an account's number is the key of its root user
        return Credentials(target.account_id, "local")
    found = boto3.Session().get_credentials()
    if found is None:
        raise CampaignError("campaigns: no usable credentials (allowed: AWS_PROFILE or a role)")
    frozen = found.get_frozen_credentials()
    return Credentials(frozen.access_key or "", frozen.secret_key or "", frozen.token)


def _detail(content: bytes) -> str:
    try:
        problem: dict[str, Any] = json.loads(content)
        return str(problem.get("detail") or problem.get("message") or problem)[:300]
    except ValueError:
        return content[:300].decode(errors="replace")
