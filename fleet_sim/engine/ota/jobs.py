"""A model of the AWS IoT Jobs service: bytes in, bytes out, no socket, no clock.

For simulations of an update without the cloud, and for tests. It does what the service documents
for the requests of a vehicle; rollout, abort and retry are the update manager's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec

from fleet_sim.contract.jobs import (
    TERMINAL,
    ExecutionState,
    JobExecution,
    JobStatus,
    Rejected,
    Request,
    Update,
    Updated,
    jobs_topic,
)

DocumentOf = Callable[[str, str, float], bytes]
"""Takes thing, job id and time in s: the job's document with URLs that live from now on."""


class Answer(NamedTuple):
    """To be published to a thing."""

    thing: str
    topic: str
    payload: bytes


class Change(NamedTuple):
    """An execution's status, and when it was set."""

    t_s: float
    thing: str
    job_id: str
    status: JobStatus
    details: dict[str, str]


class _Record(msgspec.Struct):
    status: JobStatus
    version: int
    details: dict[str, str]
    queued_s: float
    touched_s: float


class JobsService:
    """Executions by thing, in the order in which they were queued."""

    def __init__(self, document: DocumentOf) -> None:
        self.changes: list[Change] = []
        """New statuses: what `$aws/events/jobExecution/#` tells."""
        self.heard: list[Change] = []
        """Old ones with new details too: what a look at the executions shows."""
        self.requests = 0
        self._document = document
        self._jobs: dict[str, dict[str, _Record]] = {}

    # -- the operator's side ----------------------------------------------------------------------

    def create(self, job_id: str, things: Iterable[str], now_s: float) -> Iterator[Answer]:
        """Queue a job for things. `ValueError` when one has it already."""
        for thing in things:
            jobs = self._jobs.setdefault(thing, {})
            if job_id in jobs:
                raise ValueError(f"{thing} has a job {job_id!r} already (allowed: a new id)")
            before = self._next(thing)
            jobs[job_id] = _Record("QUEUED", 1, {}, now_s, now_s)
            change = Change(now_s, thing, job_id, "QUEUED", {})
            self.changes.append(change)
            self.heard.append(change)
            if before is None:
                yield self._notice(thing, now_s)

    def cancel(
        self, job_id: str, now_s: float, *, force: bool = False, things: Iterable[str] | None = None
    ) -> Iterator[Answer]:
        """Cancel the job: what is queued, and with `force` what is in progress too."""
        for thing in list(self._jobs) if things is None else things:
            record = self._jobs[thing].get(job_id)
            if record and (record.status == "QUEUED" or (force and record.status not in TERMINAL)):
                yield from self._end(thing, job_id, "CANCELED", now_s)

    def time_out(self, before_s: float, now_s: float) -> Iterator[Answer]:
        """End what is in progress and was not heard of since `before_s`."""
        for thing, jobs in self._jobs.items():
            for job_id, record in jobs.items():
                if record.status == "IN_PROGRESS" and record.touched_s < before_s:
                    yield from self._end(thing, job_id, "TIMED_OUT", now_s)

    @property
    def things(self) -> Collection[str]:
        """Those that ever had a job."""
        return self._jobs.keys()

    def status(self, thing: str, job_id: str) -> JobStatus:
        return self._jobs[thing][job_id].status

    def last_job(self, thing: str) -> str:
        """The job that the thing was given last."""
        return next(reversed(self._jobs[thing]))

    def details(self, thing: str, job_id: str) -> dict[str, str]:
        return self._jobs[thing][job_id].details

    # -- the vehicle's side -----------------------------------------------------------------------

    def request(self, thing: str, topic: str, payload: bytes, now_s: float) -> Iterator[Answer]:
        """A publish of a thing: answers, and notices that follow from it."""
        self.requests += 1
        rest = topic[len(jobs_topic(thing, "")) :]
        try:
            if rest == "start-next":
                asked = msgspec.json.decode(payload, type=Request)
                yield self._start(thing, asked, topic, now_s)
            elif rest.endswith("/get"):
                asked = msgspec.json.decode(payload, type=Request)
                yield self._describe(thing, rest.removesuffix("/get"), asked, topic, now_s)
            elif rest.endswith("/update"):
                update = msgspec.json.decode(payload, type=Update)
                job_id = rest.removesuffix("/update")
                yield from self._update(thing, job_id, update, topic, now_s)
            else:
                yield _rejected(thing, topic, "InvalidTopic", None)
        except msgspec.DecodeError:
            yield _rejected(thing, topic, "InvalidJson", None)

    def _start(self, thing: str, asked: Request, topic: str, now_s: float) -> Answer:
        job_id = self._next(thing)
        if job_id is not None:
            record = self._jobs[thing][job_id]
            if record.status == "QUEUED":
                self._set(thing, job_id, "IN_PROGRESS", asked.status_details or {}, now_s)
        return self._execution(thing, topic, job_id, asked.client_token, now_s)

    def _describe(
        self, thing: str, job_id: str, asked: Request, topic: str, now_s: float
    ) -> Answer:
        name = self._next(thing) if job_id == "$next" else job_id
        if job_id != "$next" and name not in self._jobs.get(thing, {}):
            return _rejected(thing, topic, "ResourceNotFound", asked.client_token)
        return self._execution(thing, topic, name, asked.client_token, now_s)

    def _update(
        self, thing: str, job_id: str, update: Update, topic: str, now_s: float
    ) -> Iterator[Answer]:
        token = update.client_token
        record = self._jobs.get(thing, {}).get(job_id)
        if record is None:
            yield _rejected(thing, topic, "ResourceNotFound", token)
            return
        if record.status in TERMINAL:
            yield _rejected(thing, topic, "TerminalStateReached", token, _state(record))
            return
        if update.status not in ("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"):
            yield _rejected(thing, topic, "InvalidStateTransition", token)
            return
        expected = update.expected_version
        if expected is not None and int(expected) != record.version:
            yield _rejected(thing, topic, "VersionMismatch", token, _state(record))
            return
        self._set(thing, job_id, update.status, update.status_details or record.details, now_s)
        answer = Updated(_state(record), token, int(now_s))
        yield Answer(thing, f"{topic}/accepted", msgspec.json.encode(answer))
        if record.status in TERMINAL:
            yield self._notice(thing, now_s)

    # -- inside -----------------------------------------------------------------------------------

    def _next(self, thing: str) -> str | None:
        jobs = self._jobs.get(thing, {})
        for status in ("IN_PROGRESS", "QUEUED"):
            for job_id, record in jobs.items():
                if record.status == status:
                    return job_id
        return None

    def _set(
        self, thing: str, job_id: str, status: JobStatus, details: dict[str, str], now_s: float
    ) -> None:
        record = self._jobs[thing][job_id]
        change = Change(now_s, thing, job_id, status, details)
        self.heard.append(change)
        if status != record.status:
            self.changes.append(change)
        record.status, record.details = status, details
        record.version += 1
        record.touched_s = now_s

    def _end(self, thing: str, job_id: str, status: JobStatus, now_s: float) -> Iterator[Answer]:
        was_next = self._next(thing) == job_id
        self._set(thing, job_id, status, self._jobs[thing][job_id].details, now_s)
        if was_next:
            yield self._notice(thing, now_s)

    def _notice(self, thing: str, now_s: float) -> Answer:
        topic = jobs_topic(thing, "notify-next")
        return self._execution(thing, topic, self._next(thing), None, now_s, "")

    def _execution(
        self,
        thing: str,
        topic: str,
        job_id: str | None,
        token: str | None,
        now_s: float,
        suffix: str = "/accepted",
    ) -> Answer:
        shown = msgspec.Raw()
        if job_id is not None:
            record = self._jobs[thing][job_id]
            execution = JobExecution(
                job_id,
                record.status,
                record.version,
                1,
                record.details,
                msgspec.Raw(self._document(thing, job_id, now_s)),
                int(record.queued_s),
                thing_name=thing,
            )
            shown = msgspec.Raw(msgspec.json.encode(execution))
        answer: dict[str, object] = {"timestamp": int(now_s)}
        if job_id is not None:
            answer["execution"] = shown
        if token is not None:
            answer["clientToken"] = token
        return Answer(thing, f"{topic}{suffix}", msgspec.json.encode(answer))


def _state(record: _Record) -> ExecutionState:
    return ExecutionState(record.status, record.version, record.details)


def _rejected(
    thing: str,
    topic: str,
    code: str,
    token: str | None,
    state: ExecutionState | None = None,
) -> Answer:
    answer = Rejected(code, code, state, token)
    return Answer(thing, f"{topic}/rejected", msgspec.json.encode(answer))
