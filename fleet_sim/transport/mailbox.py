"""Calls from other threads onto an event loop, in batches: a wake-up of the loop costs a system
call, far more than the call it is for."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Mailbox:
    """Runs what is posted on the thread of `loop`, in the order of posting.

    `on_error` gets what a call raised; the calls after it are made all the same.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_error: Callable[[Exception], None]
    ) -> None:
        self._loop = loop
        self._on_error = on_error
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._lock = threading.Lock()
        self._woken = False
        self._closed = False

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """From any thread: run `call(*args)` soon. After `close` it is dropped."""
        with self._lock:
            if self._closed:
                return
            self._calls.append((call, args))
            if self._woken:
                return
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def close(self) -> None:
        """Drop what comes from now on: the loop may end at any time."""
        with self._lock:
            self._closed = True

    def _deliver(self) -> None:
        with self._lock:
            self._woken = False
            calls, self._calls = self._calls, deque()
        for call, args in calls:
            try:
                call(*args)
            except Exception as error:  # noqa: BLE001 - whoever posted is on another thread
                self._on_error(error)
