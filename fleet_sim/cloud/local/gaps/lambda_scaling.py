"""How many environments a function gets.

AWS: concurrent invocations get an execution environment each, and cold starts cost the caller
time but nobody else.

Stock MiniStack: starts a process for every invocation that finds no free one, without bound. Here a
cold start takes processor time from everything else; once calls come faster than they are answered,
each late call starts another process, which makes the others later: the machine does not recover.

Closed by: an invocation waits for one of `WARM_LIMIT` environments of its function to be free, at
most `QUEUE_S`, before another is started, and only as many as there are processors start at a time.
So a burst queues where AWS would scale out. An invocation made by a function does not wait: what it
waits for might be its caller.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from fleet_sim.cloud.local.gaps import _seam

WARM_LIMIT = max(4, 2 * (os.cpu_count() or 1))
QUEUE_S = 20.0
"""Longer than a cold start takes on a busy machine, where another process helps least."""


def apply() -> None:
    runtime, service = _seam.core("lambda_runtime"), _seam.service("lambda_svc")
    _seam.expect(runtime, "_worker_key", "_workers")
    _seam.expect(service, "_invoke_depth", "acquire_worker", "release_worker")
    _seam.expect_parameters(runtime.Worker._spawn, "self")
    _seam.expect_parameters(
        service.acquire_worker, "func_name", "config", "code_zip", "qualifier", "max_concurrency"
    )
    _seam.expect_parameters(service.release_worker, "worker")
    stock_acquire, stock_release = service.acquire_worker, service.release_worker
    stock_spawn = runtime.Worker._spawn
    freed = threading.Condition()
    starting = threading.Semaphore(os.cpu_count() or 1)

    def busy(key: str) -> bool:
        workers = list(runtime._workers.get(key, ()))
        return len(workers) >= WARM_LIMIT and all(worker.in_use for worker in workers)

    def acquire(
        name: str,
        config: dict[str, Any],
        code: bytes,
        qualifier: str = "$LATEST",
        max_concurrency: int | None = None,
    ) -> Any:
        # Direct invocations have depth 1; those a function makes, more.
        if service._invoke_depth.get() <= 1:
            key = runtime._worker_key(name, config, qualifier)
            until = time.monotonic() + QUEUE_S
            with freed:
                while busy(key) and (left_s := until - time.monotonic()) > 0:
                    freed.wait(left_s)
        return stock_acquire(name, config, code, qualifier, max_concurrency)

    def release(worker: Any) -> None:
        stock_release(worker)
        with freed:
            freed.notify_all()

    def spawn(worker: Any) -> None:
        with starting:
            stock_spawn(worker)

    service.acquire_worker, service.release_worker = acquire, release
    runtime.Worker._spawn = spawn
