"""States, events and commands of a vehicle's update, and what of it survives a power loss."""

import enum
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from fleet_sim.contract.jobs import Preconditions


class UpdateState(enum.Enum):
    IDLE = "idle"  # no job
    CHECKING = "checking"  # the signed metadata is fetched and verified
    DOWNLOADING = "downloading"  # the image comes, in ranges
    RENEWING = "renewing"  # a URL ended: the job is described again
    VERIFYING = "verifying"  # length and hashes of the whole image
    WAITING = "waiting"  # the image is here; preconditions are not
    INSTALLING = "installing"  # the spare slot is written
    ARMED = "armed"  # the spare slot holds the image: a reboot as soon as it stands
    REBOOTING = "rebooting"  # on trial into the new slot
    TESTING = "testing"  # the new slot runs, on trial
    REVERTING = "reverting"  # back into the old slot
    REPORTING = "reporting"  # the outcome is stored, and told until the service has it


class UpdateEvent(enum.Enum):
    OFFERED = "offered"
    CHECKED = "checked"
    CURRENT = "current"
    REFUSED = "refused"
    EXPIRED = "expired"
    RENEWED = "renewed"
    GAVE_UP = "gave_up"
    DOWNLOADED = "downloaded"
    INTACT = "intact"
    READY = "ready"
    WRITTEN = "written"
    TORN = "torn"
    PARKED = "parked"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    REVOKED = "revoked"
    REPORTED = "reported"


_S, _E = UpdateState, UpdateEvent

UPDATE_TRANSITIONS: dict[tuple[UpdateState, UpdateEvent], UpdateState] = {
    (_S.IDLE, _E.OFFERED): _S.CHECKING,
    (_S.IDLE, _E.REFUSED): _S.REPORTING,
    (_S.CHECKING, _E.CHECKED): _S.DOWNLOADING,
    (_S.CHECKING, _E.CURRENT): _S.REPORTING,
    (_S.CHECKING, _E.REFUSED): _S.REPORTING,
    (_S.CHECKING, _E.EXPIRED): _S.RENEWING,
    (_S.CHECKING, _E.GAVE_UP): _S.REPORTING,
    (_S.CHECKING, _E.REVOKED): _S.IDLE,
    # A renewed URL comes after a pause: the metadata is looked at again, and then the rest comes.
    (_S.RENEWING, _E.RENEWED): _S.CHECKING,
    (_S.RENEWING, _E.GAVE_UP): _S.REPORTING,
    (_S.RENEWING, _E.REVOKED): _S.IDLE,
    (_S.DOWNLOADING, _E.DOWNLOADED): _S.VERIFYING,
    (_S.DOWNLOADING, _E.EXPIRED): _S.RENEWING,
    (_S.DOWNLOADING, _E.REFUSED): _S.REPORTING,
    (_S.DOWNLOADING, _E.GAVE_UP): _S.REPORTING,
    (_S.DOWNLOADING, _E.REVOKED): _S.IDLE,
    (_S.VERIFYING, _E.INTACT): _S.WAITING,
    (_S.VERIFYING, _E.REFUSED): _S.REPORTING,
    (_S.VERIFYING, _E.REVOKED): _S.IDLE,
    (_S.WAITING, _E.READY): _S.INSTALLING,
    (_S.WAITING, _E.REVOKED): _S.IDLE,
    (_S.INSTALLING, _E.WRITTEN): _S.ARMED,
    (_S.INSTALLING, _E.TORN): _S.WAITING,
    (_S.INSTALLING, _E.GAVE_UP): _S.REPORTING,
    (_S.INSTALLING, _E.REVOKED): _S.IDLE,
    # Writing takes long, and harms no driver; the reboot would.
    (_S.ARMED, _E.PARKED): _S.REBOOTING,
    (_S.ARMED, _E.REVOKED): _S.IDLE,
    # From here on the boot loader decides: a job that is taken back changes nothing any more.
    (_S.REBOOTING, _E.REVOKED): _S.REBOOTING,
    (_S.TESTING, _E.REVOKED): _S.TESTING,
    (_S.TESTING, _E.HEALTHY): _S.REPORTING,
    (_S.TESTING, _E.UNHEALTHY): _S.REVERTING,
    (_S.REVERTING, _E.REVOKED): _S.REVERTING,
    (_S.REPORTING, _E.REPORTED): _S.IDLE,
    (_S.REPORTING, _E.REVOKED): _S.IDLE,
}
"""Every transition there is. The diagram in docs/ota.md is drawn from this table."""


class BootKind(enum.Enum):
    """How the running slot was chosen, as the boot loader tells."""

    NORMAL = "normal"  # the slot that was committed last
    TRIAL = "trial"  # the new slot, for this boot only
    FELL_BACK = "fell_back"  # a trial was not committed: the old slot again


RESUMES: dict[tuple[BootKind, bool], UpdateState] = {
    (BootKind.NORMAL, False): UpdateState.IDLE,
    (BootKind.NORMAL, True): UpdateState.REPORTING,
    (BootKind.TRIAL, False): UpdateState.TESTING,
    (BootKind.TRIAL, True): UpdateState.TESTING,
    (BootKind.FELL_BACK, False): UpdateState.REPORTING,  # FAILED: the new image did not last
    (BootKind.FELL_BACK, True): UpdateState.REPORTING,
}
"""State after power comes: by the boot loader's word, and whether an outcome is stored that the
service has not taken."""


class Outcome(msgspec.Struct, frozen=True):
    """How a job ended on the vehicle."""

    status: str
    """`SUCCEEDED`, `FAILED` (may be tried again) or `REJECTED` (must not be)."""
    reason: str
    """One word or a few: it becomes `statusDetails.reason`."""


class Persisted(msgspec.Struct, frozen=True):
    """What survives a power loss, besides the slots and the staged bytes. Written as a whole."""

    job_id: str = ""
    """The job under way, or whose outcome is not reported; empty when there is none."""
    version_number: int = 0
    """The execution's version as last heard: what `expectedVersion` says."""
    execution_number: int | None = None
    staged: str = ""
    """SHA-256 of the image to which the staged bytes belong."""
    release: int = 0
    """Of the job's image: staged, on trial or committed; 0 until the metadata has said it."""
    outcome: Outcome | None = None
    floor: int = 0
    """Highest release that was ever committed: nothing below is installed again."""
    written: str = ""
    """SHA-256 of the image that the spare slot holds whole, until it is tried or written over."""
    trust: Mapping[str, bytes] = {}
    """Metadata that was verified, by role; without it a replay would succeed."""


class Boot(NamedTuple):
    """What the boot loader tells."""

    kind: BootKind
    version: str
    release: int


class Conditions(NamedTuple):
    """What the vehicle knows about itself."""

    parked: bool
    soc: float
    """State of charge, 0-1."""
    minute: int
    """Of the vehicle's local day, 0-1439."""


def unmet(preconditions: Preconditions, now: Conditions) -> str:
    """The first precondition that does not hold, as a word; empty when all do."""
    if preconditions.parked and not now.parked:
        return "driving"
    if now.soc < preconditions.min_soc:
        return "charge"
    if preconditions.window is not None:
        begin, end = preconditions.window
        inside = begin <= now.minute < end
        if begin > end:
            inside = now.minute >= begin or now.minute < end
        if not inside:
            return "window"
    return ""


# -- commands -------------------------------------------------------------------------------------


class Subscribe(NamedTuple):
    """Subscribe to these topics (QoS 1)."""

    topics: tuple[str, ...]


class Publish(NamedTuple):
    """Publish now (QoS 1). It is not stored while offline: the machine tells again itself."""

    topic: str
    payload: bytes


class FetchMetadata(NamedTuple):
    """GET, and report the body with `metadata_ended`. No more than `limit` bytes are read."""

    token: int
    url: str
    limit: int


class FetchImage(NamedTuple):
    """GET from `offset` on, append to what is staged; report with `received`, `image_ended`.
    Nothing after `length` bytes in all is stored: report one byte more than that, and stop."""

    token: int
    url: str
    offset: int
    length: int


class StopFetch(NamedTuple):
    """Cut the download that is under way."""

    token: int


class Discard(NamedTuple):
    """Delete what is staged."""


class Verify(NamedTuple):
    """Compare the staged bytes with a length and a SHA-256; report with `verified`."""

    length: int
    sha256: str


class Persist(NamedTuple):
    """Store this before the next command."""

    record: Persisted


class Write(NamedTuple):
    """Write the staged image into the slot that does not run; report with `written`."""

    version: str
    release: int


class StopWrite(NamedTuple):
    """Stop writing; the spare slot holds no image then."""


class TryBoot(NamedTuple):
    """Mark the spare slot to be booted once, and reboot."""


class Reboot(NamedTuple):
    """Reboot without commit: a trial ends, the old slot comes back."""


class SelfTest(NamedTuple):
    """Test the running image; report with `tested`."""


class Commit(NamedTuple):
    """Make the running slot the one that is booted."""


class ForgetTrial(NamedTuple):
    """The boot loader may forget that a trial fell back."""


Command: TypeAlias = (
    Subscribe
    | Publish
    | FetchMetadata
    | FetchImage
    | StopFetch
    | Discard
    | Verify
    | Persist
    | Write
    | StopWrite
    | TryBoot
    | Reboot
    | SelfTest
    | Commit
    | ForgetTrial
)
