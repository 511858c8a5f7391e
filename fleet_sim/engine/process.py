"""A shard in a process of its own: spawned, spoken to over a pipe, and missed when it dies."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from fleet_sim.engine.hosts import ShardLostError, WorkerError, recover_files
from fleet_sim.engine.leavings import Leavings, load, save
from fleet_sim.engine.status import Sample, Status
from fleet_sim.engine.worker import Job, Worker, bug_handler
from fleet_sim.world import Share

NEWS_EVERY_S = 0.5
_GONE_S = 5.0
"""How long a process may take to end once its pipe is closed."""


def watch(loop: asyncio.AbstractEventLoop, pipe: Connection, readable: Callable[[], None]) -> None:
    """Have the loop call `readable` when there is something to receive.

    uvloop makes what it watches non-blocking. `Connection` then takes a long message, of which the
    first part is here and the rest is not yet, for the end of the pipe.
    """
    loop.add_reader(pipe.fileno(), readable)
    os.set_blocking(pipe.fileno(), True)


# --- in the process -------------------------------------------------------------------------------


def main(job: Job, pipe: Connection) -> None:
    """Serve one worker until the pipe is closed. Ctrl-C is the supervisor's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(_serve(job, pipe))


async def _serve(job: Job, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    calls: set[asyncio.Task[None]] = set()
    loop.set_exception_handler(bug_handler(lambda error: _tell(pipe, ("bug", *_named(error)))))
    try:
        worker = Worker(job)
    except Exception as error:  # noqa: BLE001 - told to the supervisor, which raises it
        _tell(pipe, ("failed", *_named(error)))
        return
    _tell(pipe, ("ready",))

    def readable() -> None:
        try:
            number, name, args = pipe.recv()
        except (EOFError, OSError):  # the supervisor is gone: so is the run
            loop.remove_reader(pipe.fileno())
            closed.set()
            return
        task = loop.create_task(_answer(worker, pipe, number, name, args))
        calls.add(task)
        task.add_done_callback(calls.discard)

    watch(loop, pipe, readable)
    while not closed.is_set():
        _tell(pipe, ("news", *worker.news()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(closed.wait(), NEWS_EVERY_S)
    for task in calls:
        task.cancel()


async def _answer(worker: Worker, pipe: Connection, number: int, name: str, args: Any) -> None:
    try:
        result = await getattr(worker, name)(*args)
        if isinstance(result, Leavings):
            assert worker.job.folder is not None
            save(result, worker.job.folder)  # millions of rows do not go through a pipe
            result = None
        _tell(pipe, ("result", number, result))
    except Exception as error:  # noqa: BLE001 - told to the supervisor, which raises it
        _tell(pipe, ("error", number, *_named(error)))


def _named(error: BaseException) -> tuple[str, str]:
    return type(error).__name__, str(error)


def _tell(pipe: Connection, message: tuple[Any, ...]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `readable` sees it, too
        pipe.send(message)


# --- beside the supervisor ------------------------------------------------------------------------


class ProcessHost:
    """Starts the process when it is made. Needs a running event loop."""

    def __init__(self, job: Job) -> None:
        self.share: Share = job.share
        self.status = Status(vehicles=job.share.n)
        self.samples: list[Sample] = []
        self.bug: WorkerError | None = None
        self._job = job
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._why = ""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        name = f"fleet-sim shard {job.share.number}"
        self._process = context.Process(target=main, args=(job, theirs), name=name, daemon=True)
        self._process.start()
        theirs.close()
        watch(self._loop, self._pipe, self._readable)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    async def start(self) -> None:
        await asyncio.shield(self._ready)

    async def call(self, name: str, *args: Any) -> Any:
        if self._why:
            raise ShardLostError(self._why)
        self._number += 1
        answer = self._calls[self._number] = self._loop.create_future()
        try:
            self._pipe.send((self._number, name, args))
        except OSError:
            self._lost()
        return await answer

    async def finish(self, timeout_s: float, settle_s: float) -> Leavings:
        await self.call("finish", timeout_s, settle_s)
        self._close()
        await asyncio.to_thread(self._process.join, _GONE_S)
        assert self._job.folder is not None
        return load(self.share, self._job.folder)

    def recover(self, why: str, t0_ns: int, died_ns: int) -> Leavings:
        return recover_files(self._job, why, self.status, self.samples, t0_ns, died_ns)

    def kill(self) -> None:
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_GONE_S)
        self._close()

    # -- inside -----------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            kind, *rest = self._pipe.recv()
        except (EOFError, OSError):
            self._lost()
            return
        self.heard_s = self._loop.time()
        if kind == "news":
            self.status, new = rest
            self.samples += new
        elif kind == "ready":
            self._ready.set_result(None)
        elif kind == "failed":
            name, text = rest
            error = ValueError(text) if name == "ValueError" else WorkerError(name, text)
            self._ready.set_exception(error)
        elif kind == "bug":
            self.bug = self.bug or WorkerError(*rest)
        elif kind == "result":
            self._calls.pop(rest[0]).set_result(rest[1])
        else:
            self._calls.pop(rest[0]).set_exception(WorkerError(*rest[1:]))

    def _lost(self) -> None:
        self._close()
        self._process.join(_GONE_S)
        code = self._process.exitcode
        if code is not None and code < 0:
            self._why = f"killed by signal {-code} ({signal.Signals(-code).name})"
        elif code is not None:
            self._why = f"ended with exit code {code}"
        else:
            self._why = "stopped answering"
        lost = ShardLostError(self._why)
        for answer in [self._ready, *self._calls.values()]:
            if not answer.done():
                answer.set_exception(lost)
        self._calls.clear()

    def _close(self) -> None:
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe.fileno())
            self._pipe.close()


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))
