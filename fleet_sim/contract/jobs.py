"""AWS IoT Jobs over MQTT, as far as an update speaks it, and the document of an update's job.

Answers of the service may carry more fields than are named here: it is not ours, and it grows.
What we write ourselves, the job's document, refuses unknown fields. Timestamps are in seconds.
Limits are those of AWS IoT Core's quotas: a document has 32,768 characters, a job id 64, a key of
`statusDetails` 128 and its value 1,024.
"""

from typing import Annotated, Literal

import msgspec

MAX_DOCUMENT_CHARS = 32_768
MAX_DETAIL_KEY_CHARS, MAX_DETAIL_VALUE_CHARS = 128, 1_024
MIN_URL_LIFE_S, MAX_URL_LIFE_S = 60, 3_600

JobStatus = Literal[
    "QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"
]
TERMINAL: frozenset[str] = frozenset(
    {"SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"}
)
RejectionCode = Literal[
    "InvalidTopic",
    "InvalidJson",
    "InvalidRequest",
    "InvalidStateTransition",
    "ResourceNotFound",
    "VersionMismatch",
    "InternalError",
    "RequestThrottled",
    "TerminalStateReached",
]

JobId = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Version = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}$")]
"""A firmware's name for people. Which of two is newer is said by the signed release number."""
Minute = Annotated[int, msgspec.Meta(ge=0, le=1_439)]


class Preconditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must hold before the image is written; a vehicle in which it does not hold waits."""

    parked: bool = True
    min_soc: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """State of charge of the pack, 0-1."""
    window: tuple[Minute, Minute] | None = None
    """Minutes of the vehicle's local day, from the first to before the second; it may pass
    midnight."""


class FirmwareJob(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Document of a job that brings one firmware. Nothing in it is trusted: what is installed, its
    length and its hashes are what the signed metadata says about `target`."""

    operation: Literal["firmware-update"]
    campaign: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    version: Version
    target: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    """Path of the image in the signed metadata, such as `model3_rwd/1.1.0-r2.img`."""
    image_url: Annotated[str, msgspec.Meta(min_length=1, max_length=8_192)]
    metadata_url: Annotated[str, msgspec.Meta(min_length=1, max_length=8_192)]
    """Both are presigned and end after 60-3600 s; describing the job again renews them."""
    preconditions: Preconditions = Preconditions()


class JobExecution(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What `start-next`, `get` and `notify-next` tell about a vehicle's part of a job."""

    job_id: str
    status: JobStatus
    version_number: int = 1
    execution_number: int = 1
    status_details: dict[str, str] | None = None
    job_document: msgspec.Raw = msgspec.Raw()
    queued_at: int | None = None
    started_at: int | None = None
    last_updated_at: int | None = None
    thing_name: str | None = None


class Execution(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Answer to `start-next` and `get`, and content of `notify-next`. `execution` is absent when
    nothing is pending, or (in a `notify-next`) an empty object: `pending` hides the difference."""

    execution: msgspec.Raw = msgspec.Raw()
    client_token: str | None = None
    timestamp: int | None = None

    @property
    def pending(self) -> JobExecution | None:
        """The execution; `msgspec.DecodeError` when it is none."""
        if bytes(self.execution).strip() in (b"", b"{}", b"null"):
            return None
        return msgspec.json.decode(self.execution, type=JobExecution)


class ExecutionState(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Where the service is with an execution."""

    status: JobStatus
    version_number: int | str = 1
    status_details: dict[str, str] | None = None


class Updated(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Answer to `update`."""

    execution_state: ExecutionState | None = None
    client_token: str | None = None
    timestamp: int | None = None


class Rejected(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Answer on any `…/rejected`. `executionState` comes with `VersionMismatch`."""

    code: str
    message: str = ""
    execution_state: ExecutionState | None = None
    client_token: str | None = None
    timestamp: int | None = None


class Update(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Request on `{jobId}/update`. `expectedVersion` is documented as a text and modelled as a
    number; a service takes both."""

    status: JobStatus
    status_details: dict[str, str] | None = None
    expected_version: int | str | None = None
    execution_number: int | None = None
    include_job_execution_state: bool = False
    include_job_document: bool = False
    step_timeout_in_minutes: int | None = None
    client_token: str | None = None


class Request(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Request on `start-next` and `{jobId}/get`."""

    client_token: str | None = None
    execution_number: int | None = None
    include_job_document: bool | None = None
    status_details: dict[str, str] | None = None
    step_timeout_in_minutes: int | None = None


def jobs_topic(thing: str, rest: str) -> str:
    """Topic of the Jobs service for a thing: `rest` is `start-next`, `{jobId}/update`, …"""
    return f"$aws/things/{thing}/jobs/{rest}"
