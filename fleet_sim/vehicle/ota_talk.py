"""The Jobs half of an update: what was asked, which answer is the one to it, and what is told.

One request is under way at a time. An answer to an older request, a duplicate and one that nobody
asked for change nothing; a request without an answer is made again.
"""

from typing import NamedTuple

import msgspec

from fleet_sim.contract.jobs import (
    MAX_DETAIL_VALUE_CHARS,
    TERMINAL,
    Execution,
    JobExecution,
    JobStatus,
    Rejected,
    Request,
    Update,
    Updated,
    jobs_topic,
)
from fleet_sim.vehicle.ota_table import Publish, Subscribe

ANSWER_S = 20.0
"""A request without an answer for so long is made again."""
BACK_OFF_S = 5.0
"""Before asking again after `RequestThrottled` or `InternalError`; doubles up to 16 times."""

_AGAIN = frozenset({"RequestThrottled", "InternalError"})
_OVER = frozenset({"TerminalStateReached", "ResourceNotFound", "InvalidStateTransition"})


class Next(NamedTuple):
    """The service named the job to do now; None: nothing is pending."""

    execution: JobExecution | None


class Hint(NamedTuple):
    """What is next may have changed: `job_id` is next now, or "" for none. Late and repeated ones
    come too, so it is a reason to ask, and no more."""

    job_id: str


class Described(NamedTuple):
    """The job as it is now."""

    execution: JobExecution


class Told(NamedTuple):
    """The service took a status."""

    status: str


class Over(NamedTuple):
    """The service says that the job has ended, or is no more."""

    why: str


class Report(NamedTuple):
    """A status to tell."""

    status: JobStatus
    details: dict[str, str]
    step_minutes: int | None


Heard = Next | Hint | Described | Told | Over


class Talk:
    """Requests and answers of one vehicle. Times are seconds of the caller's monotonic clock."""

    def __init__(self, thing: str, job_id: str, version: int, execution: int | None) -> None:
        self.connected = False
        self.job_id = job_id
        self.version = version
        self.execution = execution
        self.faults = 0
        """Answers that no service should give, and refusals that are our own fault."""
        self._thing = thing
        self._boot = ""
        self._turn = 0
        self._token: str | None = None
        self._asked: dict[str, tuple[str, Report | None]] = {}
        """Tokens of what waits for an answer, with "start-next", "get" or the status told. A late
        answer to a request that was made again is still one: else nothing would ever be settled
        where answers take longer than `ANSWER_S`."""
        self._wants_next = False
        self._wants_get = False
        self._report: Report | None = None
        self._due_s = 0.0
        self._throttled = 0
        self._bare = False

    def booted(self, epoch_s: float) -> None:
        """Tokens are this boot's from now on: an answer that was kept for the vehicle while it had
        no power is one to a request of before, and not to the one that has its number now."""
        self._boot = f"{round(epoch_s * 1e3):x}"

    # -- wishes -----------------------------------------------------------------------------------

    def ask_next(self) -> None:
        self._wants_next = True

    def ask_description(self) -> None:
        self._wants_get = True

    def tell(self, report: Report) -> None:
        """The newest status stands for the ones before it; nothing follows a terminal one."""
        if self._report is None or self._report.status not in TERMINAL:
            self._report = report

    def take(self, execution: JobExecution) -> None:
        """From now on this is the job under way."""
        if execution.job_id != self.job_id:
            self.drop()
        self.job_id = execution.job_id
        self.version = execution.version_number
        self.execution = execution.execution_number

    def drop(self) -> None:
        """No job is under way."""
        self.job_id, self.version, self.execution = "", 0, None
        self._report = None
        self._wants_get = False
        self._bare = False
        if not any(what == "start-next" for what, _ in self._asked.values()):
            self._forget()

    @property
    def quiet(self) -> bool:
        """Nothing is asked and nothing is to be asked."""
        wishes = self._wants_next or self._wants_get or self._report is not None
        return self._token is None and not wishes

    @property
    def wake_s(self) -> float | None:
        """When the next request may go out, or be made again."""
        return None if self.quiet or not self.connected else self._due_s

    # -- events -----------------------------------------------------------------------------------

    def went_online(self) -> Subscribe:
        """A connection is there: the topics to subscribe to, before `next_request`."""
        self.connected = True
        self._forget()
        self._throttled = 0
        self._due_s = 0.0
        self._wants_next = True
        rest = ("notify-next", "start-next/+", "+/get/+", "+/update/+")
        return Subscribe(tuple(jobs_topic(self._thing, name) for name in rest))

    def went_offline(self) -> None:
        self.connected = False
        self._forget()

    def next_request(self, now_s: float) -> Publish | None:
        """What to ask or tell now."""
        if not self.connected:
            return None
        if self._token is not None:
            if now_s < self._due_s:
                return None
            self._token = None
        elif now_s < self._due_s:
            return None
        body: Request | Update
        self._turn += 1
        token = f"{self.job_id[-16:]}-{self._boot}-{self._turn}"  # 64 characters at most
        if self._wants_next:
            asked, rest, body = "start-next", "start-next", Request(token)
        elif self._wants_get and self.job_id:
            asked, rest = "get", f"{self.job_id}/get"
            body = Request(token, self.execution, True)
        elif self._report is not None and self.job_id:
            report = self._report
            asked, rest = report.status, f"{self.job_id}/update"
            body = Update(
                report.status,
                None
                if self._bare
                else {k: v[:MAX_DETAIL_VALUE_CHARS] for k, v in report.details.items()},
                None if self._bare else self.version,
                self.execution,
                include_job_execution_state=True,
                step_timeout_in_minutes=report.step_minutes,
                client_token=token,
            )
        else:
            self._turn -= 1
            return None
        self._token = token
        self._asked[token] = asked, self._report if asked == self._status else None
        self._due_s = now_s + ANSWER_S
        return Publish(jobs_topic(self._thing, rest), msgspec.json.encode(body))

    def heard(self, topic: str, payload: bytes, now_s: float) -> Heard | None:
        """A message of the service; None when nothing follows from it."""
        rest = topic[len(jobs_topic(self._thing, "")) :]
        try:
            if rest == "notify-next":
                pending = msgspec.json.decode(payload, type=Execution).pending
                return Hint(pending.job_id if pending else "")
            if rest.endswith("/rejected"):
                return self._refused(msgspec.json.decode(payload, type=Rejected), now_s)
            if rest.endswith("/update/accepted"):
                return self._taken(msgspec.json.decode(payload, type=Updated))
            answer = msgspec.json.decode(payload, type=Execution)
            asked, _ = self._asked.get(answer.client_token or "", ("", None))
            if not asked:
                return None
            execution = answer.pending
            self._settle()
            if asked == "start-next":
                self._wants_next = False
                return Next(execution)
            self._wants_get = False
            if execution is None:
                return Over("ResourceNotFound")
            self.version = execution.version_number
            return Over(execution.status) if execution.status in TERMINAL else Described(execution)
        except msgspec.DecodeError:
            # Not retried by itself: the request's time runs out, and it is made again.
            self.faults += 1
            return None

    # -- inside -----------------------------------------------------------------------------------

    @property
    def _status(self) -> str:
        return self._report.status if self._report else ""

    def _forget(self) -> None:
        self._token = None
        self._asked.clear()

    def _settle(self) -> None:
        self._forget()
        self._due_s = 0.0
        self._throttled = 0

    def _taken(self, answer: Updated) -> Heard | None:
        status, report = self._asked.get(answer.client_token or "", ("", None))
        if not status:
            return None
        self._settle()
        state = answer.execution_state
        self.version = int(state.version_number) if state else self.version + 1
        if self._report is report:
            self._report = None
        return Told(status)

    def _refused(self, answer: Rejected, now_s: float) -> Heard | None:
        asked, _ = self._asked.get(answer.client_token or "", ("", None))
        if not asked:
            return None
        self._forget()
        if answer.code in _AGAIN:
            self._wait(now_s)
            return None
        self._due_s = 0.0
        if answer.code == "VersionMismatch" and answer.execution_state is not None:
            state = answer.execution_state
            self.version = int(state.version_number)
            return Over(state.status) if state.status in TERMINAL else None
        if answer.code in _OVER and asked != "start-next":
            return Over(answer.code)
        # The request itself is at fault. A status is told once more without what can be wrong in
        # it: a job that nobody ends is stuck.
        self.faults += 1
        self._bare = True
        self._wait(now_s)
        return None

    def _wait(self, now_s: float) -> None:
        self._due_s = now_s + BACK_OFF_S * 2.0 ** min(self._throttled, 4)
        self._throttled += 1
