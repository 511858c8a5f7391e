"""A vehicle's update: one job from the offer to its outcome, through every power loss.

Events in, commands out. The caller does the commands in their order; it tells what came of them,
and forgets the machine when power is lost. A new one is made from what survives: `Persisted`, the
boot loader's word and the length of what is staged. Times are seconds of a monotonic clock.
"""

from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from fleet_sim.contract.jobs import FirmwareJob, JobExecution
from fleet_sim.vehicle.ota_fetch import FetchEnd, Fetches
from fleet_sim.vehicle.ota_table import (
    RESUMES,
    UPDATE_TRANSITIONS,
    Boot,
    BootKind,
    Command,
    Commit,
    Conditions,
    Discard,
    FetchImage,
    FetchMetadata,
    ForgetTrial,
    Outcome,
    Persist,
    Persisted,
    Reboot,
    SelfTest,
    StopFetch,
    StopWrite,
    TryBoot,
    UpdateEvent,
    UpdateState,
    Verify,
    Write,
    unmet,
)
from fleet_sim.vehicle.ota_talk import Described, Heard, Hint, Next, Over, Report, Talk, Told
from fleet_sim.vehicle.ota_trust import Image, RefusedError, Trusted
from fleet_sim.vehicle.session import InvalidTransitionError

METADATA_LIMIT = 262_144
"""Bytes of metadata that are read at most; more is an attack that never ends."""
WRITE_TRIES = 3

CheckMetadata = Callable[[Mapping[str, bytes], bytes, str, float], Trusted]
"""Takes what was trusted so far, the bundle of metadata, the target's path and the time in seconds
since the epoch; `RefusedError` says which attack it looks like."""

_BEFORE_INSTALL = {
    UpdateState.CHECKING,
    UpdateState.DOWNLOADING,
    UpdateState.RENEWING,
    UpdateState.VERIFYING,
    UpdateState.WAITING,
    UpdateState.INSTALLING,
    UpdateState.ARMED,
}


class UpdateAgent:
    """The machine. `epoch_s` is the time since the epoch at time 0 of the caller's clock,
    `uniform` draws from [0, 1) for jitter, `staged_bytes` is what survived of a download."""

    def __init__(
        self,
        thing: str,
        boot: Boot,
        record: Persisted,
        *,
        check: CheckMetadata,
        uniform: Callable[[], float],
        epoch_s: float = 0.0,
        staged_bytes: int = 0,
        step_minutes: int | None = None,
    ) -> None:
        self.boot = boot
        self._untold = _committed_untold(boot, record)
        if self._untold:
            outcome, floor = Outcome("SUCCEEDED", "installed"), max(record.floor, boot.release)
            record = msgspec.structs.replace(record, outcome=outcome, floor=floor)
        self.record = record
        self.state = RESUMES[boot.kind, record.outcome is not None]
        self.talk = Talk(thing, record.job_id, record.version_number, record.execution_number)
        self.staged_bytes = staged_bytes
        self.job: FirmwareJob | None = None
        self.image: Image | None = None
        self.deferred: str = ""
        """Why the installation waits; empty when it does not."""
        self._check = check
        self._epoch_s = epoch_s
        self._step_minutes = step_minutes
        self._story: deque[str] = deque(maxlen=12)
        self._fetches = Fetches(uniform)
        self._write_failures = 0
        self._out: list[Command] = []

    # -- events -----------------------------------------------------------------------------------

    def begin(self, now_s: float) -> list[Command]:
        """Power came: what to do first."""
        self.talk.booted(self._epoch_s + now_s)
        if self.boot.kind is BootKind.TRIAL:
            self._out.append(SelfTest())
        elif self.boot.kind is BootKind.FELL_BACK:
            if self.record.outcome is None:
                self._keep(outcome=Outcome("FAILED", "boot"))
            self._out.append(ForgetTrial())
        if self._untold:
            self._keep()
        if self.state is UpdateState.REPORTING:
            self._report()
        return self._flush(now_s)

    def online(self, now_s: float) -> list[Command]:
        """The MQTT session is there, new or again."""
        self._out.append(self.talk.went_online())
        return self._flush(now_s)

    def offline(self, now_s: float) -> list[Command]:
        self.talk.went_offline()
        return self._flush(now_s)

    def message(self, topic: str, payload: bytes, now_s: float) -> list[Command]:
        """A message of the Jobs service; duplicates and late ones too."""
        heard = self.talk.heard(topic, payload, now_s)
        if heard is not None:
            self._hear(heard, now_s)
        return self._flush(now_s)

    def tick(self, now_s: float, conditions: Conditions) -> list[Command]:
        """Time passed: by `wake_s`, and whenever the conditions have changed."""
        if self._fetches.due(now_s):
            self._start_fetch()
        if self.state is UpdateState.WAITING:
            self._consider(conditions)
        elif self.state is UpdateState.ARMED:
            self._consider_reboot(conditions)
        return self._flush(now_s)

    def metadata_ended(self, token: int, end: FetchEnd, body: bytes, now_s: float) -> list[Command]:
        """The download of the metadata ended; `body` holds no more than was asked for."""
        if self._is_fetch(token, UpdateState.CHECKING):
            self._fetches.ended()
            if end == "complete":
                self._look(body, now_s)
            else:
                self._broke(end, now_s)
        return self._flush(now_s)

    def received(self, token: int, count: int, now_s: float) -> list[Command]:
        """`count` more bytes of the image are staged."""
        if self._is_fetch(token, UpdateState.DOWNLOADING) and self.image is not None:
            self.staged_bytes += count
            self._fetches.gained()
            if self.staged_bytes > self.image.length:
                self._out.append(StopFetch(token))
                self._fetches.ended()
                self._refuse("endless data")
        return self._flush(now_s)

    def image_ended(self, token: int, end: FetchEnd, now_s: float) -> list[Command]:
        """The download of the image ended: `complete` says that the server has no more."""
        if self._is_fetch(token, UpdateState.DOWNLOADING) and self.image is not None:
            self._fetches.ended()
            if self.staged_bytes == self.image.length:
                self._move(UpdateEvent.DOWNLOADED)
                self._out.append(Verify(self.image.length, self.image.sha256))
            elif end == "complete":
                self._refuse("wrong length")
            else:
                self._broke(end, now_s)
        return self._flush(now_s)

    def verified(self, intact: bool, now_s: float) -> list[Command]:
        """Whether the staged image has its length and hashes."""
        if self.state is UpdateState.VERIFYING:
            if intact:
                self._move(UpdateEvent.INTACT)
                self._tell("waiting")
            else:
                self._refuse("hash")
        return self._flush(now_s)

    def written(self, whole: bool, now_s: float) -> list[Command]:
        """The spare slot holds the image, or could not be written."""
        if self.state is UpdateState.INSTALLING:
            if whole:
                self._move(UpdateEvent.WRITTEN)
                self._keep(written=self.record.staged)
            else:
                self._write_failures += 1
                if self._write_failures >= WRITE_TRIES:
                    self._end(UpdateEvent.GAVE_UP, Outcome("FAILED", "write"))
                else:  # it may be driven by now: what had to hold has to hold again
                    self._move(UpdateEvent.TORN)
        return self._flush(now_s)

    def tested(self, healthy: bool, now_s: float) -> list[Command]:
        """What the self-test of the new image says."""
        if self.state is UpdateState.TESTING:
            if healthy:
                # The boot loader first: an outcome without a commit would be a false success.
                self._out.append(Commit())
                self.boot = self.boot._replace(kind=BootKind.NORMAL)
                floor = max(self.record.floor, self.boot.release)
                self._end(UpdateEvent.HEALTHY, Outcome("SUCCEEDED", "installed"), floor=floor)
            else:
                self._move(UpdateEvent.UNHEALTHY)
                self._keep(outcome=Outcome("FAILED", "self-test"))
                self._out.append(Reboot())
        return self._flush(now_s)

    @property
    def wake_s(self) -> float | None:
        """When the next `tick` is needed, if nothing else happens before; None: at no time. While
        it waits for preconditions, it is for the caller to say when they may have changed."""
        due = [t for t in (self._fetches.retry_s, self.talk.wake_s) if t is not None]
        return min(due, default=None)

    @property
    def done(self) -> bool:
        """Nothing is under way and nothing to be asked: the machine may be forgotten, and one made
        from `record` when there is news."""
        return self.state is UpdateState.IDLE and self.talk.quiet

    # -- what the service says --------------------------------------------------------------------

    def _hear(self, heard: Heard, now_s: float) -> None:
        match heard:
            case Hint(job_id):
                if self.state is UpdateState.IDLE:
                    self.talk.ask_next()
                elif job_id != self.talk.job_id:
                    self.talk.ask_description()
            case Next(execution):
                self._next(execution, now_s)
            case Described(execution):
                if self.state is UpdateState.RENEWING:
                    self._renewed(execution)
            case Told(status):
                if self.state is UpdateState.REPORTING and self._outcome.status == status:
                    self._finish(UpdateEvent.REPORTED)
            case Over():
                self._revoked()

    def _next(self, execution: JobExecution | None, now_s: float) -> None:
        ours = execution is not None and (execution.job_id, execution.execution_number) == (
            self.talk.job_id,
            self.talk.execution,
        )
        if self.state is not UpdateState.IDLE:
            if execution is not None and ours:
                self.talk.version = execution.version_number
                if self.state is UpdateState.RENEWING:
                    self._renewed(execution)
                return
            self._revoked()
        if execution is None or self._busy:
            return
        self.talk.take(execution)
        self._keep(
            job_id=execution.job_id,
            version_number=execution.version_number,
            execution_number=execution.execution_number,
            outcome=None,
            release=0,  # of this job's image nothing is known yet
        )
        self._fetches.gained()
        self._write_failures = 0
        try:
            self.job = msgspec.json.decode(execution.job_document, type=FirmwareJob)
        except msgspec.DecodeError as error:
            self._refuse(f"document: {error}")
            return
        self._move(UpdateEvent.OFFERED)
        self._tell("checking")
        self._start_fetch()

    def _renewed(self, execution: JobExecution) -> None:
        try:
            job = msgspec.json.decode(execution.job_document, type=FirmwareJob)
        except msgspec.DecodeError:
            self._end(UpdateEvent.GAVE_UP, Outcome("FAILED", "url"))
            return
        self.job = job
        self._move(UpdateEvent.RENEWED)
        self._start_fetch()

    def _revoked(self) -> None:
        if self.state is UpdateState.INSTALLING:
            self._out.append(StopWrite())
        if self._fetches.token:
            self._out.append(StopFetch(self._fetches.token))
        if self.state is not UpdateState.IDLE:
            if self.state in _BEFORE_INSTALL or self.state is UpdateState.REPORTING:
                self._finish(UpdateEvent.REVOKED)
            else:
                self._move(UpdateEvent.REVOKED)

    # -- metadata and download --------------------------------------------------------------------

    def _start_fetch(self) -> None:
        job = self.job
        if self._fetches.token or job is None:
            return
        if self.state is UpdateState.CHECKING:
            token = self._fetches.begin()
            # One byte more than allowed shows that there is more.
            self._out.append(FetchMetadata(token, job.metadata_url, METADATA_LIMIT + 1))
        elif self.state is UpdateState.DOWNLOADING and self.image is not None:
            token, length = self._fetches.begin(), self.image.length
            self._out.append(FetchImage(token, job.image_url, self.staged_bytes, length))

    def _look(self, body: bytes, now_s: float) -> None:
        job = self._job
        try:
            if len(body) > METADATA_LIMIT:
                raise RefusedError("endless data")
            trusted = self._check(self.record.trust, body, job.target, self._epoch_s + now_s)
            image = trusted.image
            if image.version != job.version:
                raise RefusedError("version is not the signed one")
            if image.release == self.boot.release and image.version == self.boot.version:
                self._keep(trust=trusted.trust)
                self._end(UpdateEvent.CURRENT, Outcome("SUCCEEDED", "already installed"))
                return
            if image.release <= max(self.boot.release, self.record.floor):
                raise RefusedError("replay")
        except RefusedError as refused:
            # What was verified before the fault was found bounds what may come next.
            self._keep(trust={**self.record.trust, **refused.trust})
            self._refuse(refused.reason)
            return
        if self.record.staged != image.sha256:
            self._out.append(Discard())
            self.staged_bytes = 0
        self._keep(trust=trusted.trust, staged=image.sha256, release=image.release)
        self.image = image
        self._move(UpdateEvent.CHECKED)
        if self.staged_bytes == image.length:
            self._move(UpdateEvent.DOWNLOADED)
            self._out.append(Verify(image.length, image.sha256))
            return
        self._tell("downloading")
        self._start_fetch()

    def _broke(self, end: FetchEnd, now_s: float) -> None:
        if self._fetches.failed():
            reason = "url" if end == "expired" else "download"
            self._end(UpdateEvent.GAVE_UP, Outcome("FAILED", reason))
        elif end == "expired":
            self._move(UpdateEvent.EXPIRED)
            self.talk.ask_description()
        else:
            self._fetches.again(now_s)

    # -- installation -----------------------------------------------------------------------------

    def _consider(self, conditions: Conditions) -> None:
        why = unmet(self._job.preconditions, conditions)
        if why:
            if why != self.deferred:
                self.deferred = why
                self._tell("waiting", why)
            return
        self.deferred = ""
        self._move(UpdateEvent.READY)
        assert self.image is not None
        if self.record.written == self.image.sha256:  # power went, or the job, before it rebooted
            self._move(UpdateEvent.WRITTEN)
            return
        self._tell("installing")
        if self.record.written:
            self._keep(written="")
        self._out.append(Write(self.image.version, self.image.release))

    def _consider_reboot(self, conditions: Conditions) -> None:
        """Charge and window held when the slot was begun; that it stands has to hold now."""
        if self._job.preconditions.parked and not conditions.parked:
            if self.deferred != "driving":
                self.deferred = "driving"
                self._tell("installed", "driving")
            return
        self.deferred = ""
        self._move(UpdateEvent.PARKED)
        self._keep(written="")
        self._out += [Discard(), TryBoot()]
        self.staged_bytes = 0

    # -- the end ----------------------------------------------------------------------------------

    def _refuse(self, reason: str) -> None:
        """What must not be tried again; nothing of it stays."""
        self._out.append(Discard())
        self.staged_bytes = 0
        self._end(UpdateEvent.REFUSED, Outcome("REJECTED", reason), staged="")

    def _end(
        self,
        event: UpdateEvent,
        outcome: Outcome,
        *,
        floor: int | None = None,
        staged: str | None = None,
    ) -> None:
        self._move(event)
        self._fetches.retry_s = None
        self._keep(
            outcome=outcome,
            floor=self.record.floor if floor is None else floor,
            staged=self.record.staged if staged is None else staged,
        )
        self._report()

    def _finish(self, event: UpdateEvent) -> None:
        self._move(event)
        self._fetches.give_up()
        self.job = self.image = None
        self.deferred = ""
        self.talk.drop()
        self._keep(job_id="", version_number=0, execution_number=None, outcome=None)
        self.talk.ask_next()  # another job may wait, and this one's end may have hidden its notice

    @property
    def _busy(self) -> bool:
        return self.state is not UpdateState.IDLE

    @property
    def _job(self) -> FirmwareJob:
        assert self.job is not None, f"{self.state} without a job"
        return self.job

    @property
    def _outcome(self) -> Outcome:
        assert self.record.outcome is not None, f"{self.state} without an outcome"
        return self.record.outcome

    # -- inside -----------------------------------------------------------------------------------

    def _report(self) -> None:
        outcome = self._outcome
        details = {"reason": outcome.reason, "version": self.boot.version}
        self.talk.tell(Report(outcome.status, details, None))  # type: ignore[arg-type]

    def _tell(self, stage: str, why: str = "") -> None:
        details = {"stage": stage, "bytes": str(self.staged_bytes)}
        if why:
            details["deferred"] = why
        self.talk.tell(Report("IN_PROGRESS", details, self._step_minutes))

    def _keep(self, **changes: object) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self._out.append(Persist(self.record))

    def _is_fetch(self, token: int, state: UpdateState) -> bool:
        return token == self._fetches.token != 0 and self.state is state

    def _flush(self, now_s: float) -> list[Command]:
        request = self.talk.next_request(now_s)
        if request is not None:
            self._out.append(request)
        out, self._out = self._out, []
        return out

    def _move(self, event: UpdateEvent) -> None:
        target = UPDATE_TRANSITIONS.get((self.state, event))
        if target is None:
            raise InvalidTransitionError(self.state, event.value, list(self._story), "an update")
        self._story.append(f"{self.state.value} --{event.value}--> {target.value}")
        self.state = target


def _committed_untold(boot: Boot, record: Persisted) -> bool:
    """Power went after the commit and before its outcome was stored: what runs for good is the
    image of the job under way. Nobody has to be asked, who might not answer, or refuse by now."""
    under_way = record.job_id != "" and record.outcome is None
    return boot.kind is BootKind.NORMAL and under_way and record.release == boot.release
