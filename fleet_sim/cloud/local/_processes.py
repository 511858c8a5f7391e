"""Process questions that need care: is this still the process I started, and is its group gone?"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def start_token(pid: int) -> str | None:
    """An identity for `pid` that a later process with the same number does not share.

    Linux: the kernel's start time of the process (clock ticks since boot). Elsewhere there is no
    portable source, so any live process answers "alive". None when there is no such process, or
    when it is a zombie.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        return "alive" if _exists(pid) else None
    # The command name may hold spaces and brackets; the fields start after its last bracket.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def group_members(pgid: int) -> list[int]:
    """The live processes of the group. Zombies do not count: nobody may ever collect them.

    Where there is no /proc, the answer is the leader's number for any group that exists.
    """
    if Path("/proc/self/stat").exists():
        members = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it ended while we looked
                if int(fields[2]) == pgid and fields[0] not in "ZX":
                    members.append(int(entry.name))
        return members
    try:
        os.killpg(pgid, 0)
    except (ProcessLookupError, PermissionError):
        # macOS answers EPERM for a group of zombies.
        return []
    return [pgid]


def terminate_group(pid: int, timeout_s: float) -> None:
    """SIGTERM to `pid`, then SIGKILL to its whole group; returns when the group is gone.

    `pid` must lead its own process group (it was started in a new session). The group is killed
    even when the leader exits in time: a worker it forgot must not survive it.
    """
    token = start_token(pid)
    if token is not None:
        _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while start_token(pid) == token and time.monotonic() < deadline:
            _reap(pid)
            time.sleep(0.01)
    kill_group(pid)


def kill_group(pgid: int) -> None:
    """SIGKILL to every process of the group, then waits (at most 30 s: even that takes a processor)
    for them to be gone."""
    deadline = time.monotonic() + 30.0
    while group_members(pgid) and time.monotonic() < deadline:
        try:
            os.killpg(pgid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # it ended while we looked
        _reap(pgid)
        time.sleep(0.005)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """Collects `pid` if it is an exited child of ours; a zombie would keep its group alive."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
