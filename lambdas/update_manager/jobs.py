"""The Jobs service, as far as a campaign needs it: make, cancel, look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from fleet_sim.contract.campaign_records import parse_job_id
from fleet_sim.contract.campaigns import CampaignRequest
from fleet_sim.contract.jobs import FirmwareJob
from update_manager.records import DEFERRED, Observation

MAKER_S = 90.0
"""A job that is not there so long after its maker set out to make it will never be: the function
has 60 s."""
PAGE = 250
"""Executions a page of a list at most."""


class NoSuchThingError(RuntimeError):
    """A vehicle of the job is not registered."""


class Jobs:
    def __init__(self, iot: Any, *, arn_prefix: str, role_arn: str) -> None:
        """`arn_prefix`: `arn:aws:iot:REGION:ACCOUNT`; `role_arn`: signs the images' URLs."""
        self._iot, self._prefix, self._role_arn = iot, arn_prefix, role_arn

    def create(
        self,
        job_id: str,
        campaign_id: str,
        request: CampaignRequest,
        model: str,
        things: Sequence[str],
    ) -> None:
        """Make the job; one that exists is the same one, as its id follows from the records.
        `NoSuchThingError`."""
        try:
            self._iot.create_job(
                jobId=job_id,
                targets=[f"{self._prefix}:thing/{thing}" for thing in things],
                targetSelection="SNAPSHOT",
                description=f"campaign {campaign_id}, firmware {request.firmware.version}",
                document=document(campaign_id, request, model),
                presignedUrlConfig={
                    "roleArn": self._role_arn,
                    "expiresInSec": request.firmware.url_life_s,
                },
            )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ResourceAlreadyExistsException":
                return
            if code in ("ResourceNotFoundException", "InvalidRequestException"):
                raise NoSuchThingError(str(error)) from error
            raise

    def registered(self, thing: str) -> bool:
        try:
            self._iot.describe_thing(thingName=thing)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return False
            raise
        return True

    def cancel(
        self, job_id: str, thing: str, *, force: bool, now_s: float, made_s: float
    ) -> Observation | None:
        """Take the job from a vehicle; answers what the service then says of it, None if that is
        not known yet. `made_s`: when its maker set out to make it."""
        try:
            self._iot.cancel_job_execution(jobId=job_id, thingName=thing, force=force)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "InvalidStateTransitionException":
                return self.look(job_id, thing)
            if code == "ResourceNotFoundException":
                # A job's executions come into being some time after it, and the job itself as long
                # as its maker lives.
                status = self._status(job_id)
                comes = status in ("IN_PROGRESS", "SCHEDULED")
                if comes or (status is None and now_s < made_s + MAKER_S):
                    return None
                return _canceled(job_id, now_s)
            raise
        return _canceled(job_id, now_s)

    def look(self, job_id: str, thing: str) -> Observation | None:
        """What the service says of a vehicle's part of a job; None when it knows none."""
        try:
            found = self._iot.describe_job_execution(jobId=job_id, thingName=thing)["execution"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return None
            raise
        details = found.get("statusDetails", {}).get("detailsMap", {})
        return seen(job_id, found["status"], found["lastUpdatedAt"].timestamp(), details)

    def executions(self, job_id: str) -> Iterator[tuple[str, Observation]]:
        """Thing and state of all parts of a job. The list has no reasons."""
        request: dict[str, Any] = {"jobId": job_id, "maxResults": PAGE}
        while True:
            try:
                answer = self._iot.list_job_executions_for_job(**request)
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    return
                raise
            for item in answer["executionSummaries"]:
                summary = item["jobExecutionSummary"]
                at = summary.get("lastUpdatedAt") or summary["queuedAt"]
                thing = item["thingArn"].rpartition("/")[2]
                if (found := seen(job_id, summary["status"], at.timestamp(), {})) is not None:
                    yield thing, found
            if not (token := answer.get("nextToken")):
                return
            request["nextToken"] = token

    def _status(self, job_id: str) -> str | None:
        """Of the job; None when there is none."""
        try:
            return str(self._iot.describe_job(jobId=job_id)["job"]["status"])
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return None
            raise


def seen(job_id: str, status: str, at_s: float, details: dict[str, str]) -> Observation | None:
    """An execution's state; None for a job that is no campaign's."""
    named = parse_job_id(job_id)
    if named is None:
        return None
    reason = details.get("reason", "")
    if status == "IN_PROGRESS":
        waits = details.get("deferred", "")
        reason = f"{DEFERRED}: {waits}" if waits else ""
    return Observation(named[2], status, at_s, reason[:128])


def document(campaign_id: str, request: CampaignRequest, model: str) -> str:
    """The job's document; the service puts presigned URLs in whenever a vehicle asks for it."""
    images = request.firmware.images
    image = images.get(model) or images[""]
    return msgspec.json.encode(
        FirmwareJob(
            "firmware-update",
            campaign_id,
            request.firmware.version,
            image.target,
            _presigned(image.image_url),
            _presigned(image.metadata_url),
            request.preconditions,
        )
    ).decode()


def _presigned(url: str) -> str:
    return "${aws:iot:s3-presigned-url:" + url + "}"


def _canceled(job_id: str, now_s: float) -> Observation | None:
    return seen(job_id, "CANCELED", now_s, {})
