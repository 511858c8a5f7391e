"""The ledger: what the generator meant to send, sent, and had acknowledged. One row a message.

Three Python calls a message run in the engine's hot path, so a row is written through memoryviews
of NumPy columns: an item assignment costs less there than on the array itself.
"""

from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

REJECTED_FROM = 0x80
"""MQTT 5 reason codes from here on are failures (MQTT 5.0, section 2.4)."""

MAX_RESENT = 255

Column = Literal[
    "vehicle", "seq", "intended_ns", "sent_ns", "acked_ns", "reason", "cause", "resent"
]

_DTYPES: dict[Column, type[np.generic]] = {
    "vehicle": np.uint32,
    "seq": np.uint32,
    "intended_ns": np.int64,
    "sent_ns": np.int64,
    "acked_ns": np.int64,
    "reason": np.uint8,
    "cause": np.uint8,
    "resent": np.uint8,
}


class DropCause(IntEnum):
    """Why the generator gave a message up."""

    NONE = 0
    BUFFER_FULL = 1
    """The vehicle's store-and-forward buffer overflowed."""
    SHUTDOWN = 2
    """The run ended before it was sent."""
    REJECTED = 3
    """The broker answered with a reason code of 128 or more."""
    LATE_SKIPPED = 4
    """The generator could not keep up and skipped it."""
    REFUSED = 5
    """Not sent: the broker had said that it takes no such message (its size, its QoS)."""
    SHARD_LOST = 6
    """The process that had it died: whether it was sent is not known."""
    CUT_OFF = 7
    """Sent on a connection that broke, and the run ended before its vehicle was back to send it
    again."""


class LedgerColumns(NamedTuple):
    """All columns of a ledger, each `[n]`; times are ns since the epoch and 0 is "never"."""

    vehicle: NDArray[np.uint32]
    seq: NDArray[np.uint32]
    intended_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    acked_ns: NDArray[np.int64]
    reason: NDArray[np.uint8]
    cause: NDArray[np.uint8]
    resent: NDArray[np.uint8]

    def at(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "LedgerColumns":
        """Of these rows only."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in self._fields}
        return LedgerColumns(**columns)

    @property
    def acknowledged(self) -> NDArray[np.bool_]:
        """Rows with a PUBACK that reports success."""
        accepted: NDArray[np.bool_] = (self.acked_ns != 0) & (self.reason < REJECTED_FROM)
        return accepted


class Ledger:
    """Structure of arrays that doubles when it is full. `capacity`: rows expected, at least 1.

    With a `folder` its columns are files there, mapped into memory: what was written outlives a
    process that dies at once, and `recover` reads it.

    Times are ns since the epoch. A row index from `open` stays valid for ever. The caller keeps
    `(vehicle, seq)` unique; the audit refuses a ledger in which it is not.
    """

    __slots__ = (
        "_acked",
        "_arrays",
        "_capacity",
        "_cause",
        "_folder",
        "_intended",
        "_n",
        "_reason",
        "_resent",
        "_sent",
        "_seq",
        "_vehicle",
    )

    def __init__(self, capacity: int, folder: Path | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"ledger: capacity {capacity} is not allowed (allowed: at least 1)")
        self._n = 0
        self._folder = folder
        self._bind({name: self._column(name, capacity) for name in _DTYPES})

    def _column(self, name: Column, capacity: int) -> NDArray[Any]:
        if self._folder is None:
            return np.zeros(capacity, _DTYPES[name])
        # A file longer than what is written in it takes no more room than that.
        path = self._folder / f"{name}.column"
        with path.open("ab") as file:
            file.truncate(capacity * np.dtype(_DTYPES[name]).itemsize)
        return np.memmap(path, _DTYPES[name], "r+", shape=(capacity,))

    @staticmethod
    def recover(folder: Path) -> LedgerColumns:
        """All rows that a process with this `folder` opened, however it ended; read-only views."""
        columns: dict[str, NDArray[Any]] = {
            name: np.memmap(folder / f"{name}.column", dtype, "r")
            for name, dtype in _DTYPES.items()
        }
        # Rows are opened in order, and none is due at the epoch.
        opened = columns["intended_ns"] != 0
        n = int(np.argmin(opened)) if not opened.all() else len(opened)
        return LedgerColumns(**{name: np.asarray(column[:n]) for name, column in columns.items()})

    def _bind(self, arrays: dict[Column, NDArray[Any]]) -> None:
        self._arrays = arrays
        self._capacity = len(arrays["vehicle"])
        self._vehicle = arrays["vehicle"].data
        self._seq = arrays["seq"].data
        self._intended = arrays["intended_ns"].data
        self._sent = arrays["sent_ns"].data
        self._acked = arrays["acked_ns"].data
        self._reason = arrays["reason"].data
        self._cause = arrays["cause"].data
        self._resent = arrays["resent"].data

    def _grow(self) -> None:
        bigger: dict[Column, NDArray[Any]] = {}
        for name, old in self._arrays.items():
            bigger[name] = self._column(name, 2 * self._capacity)
            bigger[name][: self._capacity] = old
        self._bind(bigger)

    def __len__(self) -> int:
        return self._n

    def open(self, vehicle: int, seq: int, intended_ns: int) -> int:
        """A message is due at `intended_ns`; the row that the other calls take."""
        row = self._n
        if row == self._capacity:
            self._grow()
        self._vehicle[row] = vehicle
        self._seq[row] = seq
        self._intended[row] = intended_ns
        self._n = row + 1
        return row

    def open_many(
        self, vehicle: NDArray[Any], seq: NDArray[Any], intended_ns: NDArray[np.int64]
    ) -> int:
        """`open` for k messages at once, arrays [k]; the first one's row, the others' follow it."""
        first = self._n
        end = first + len(vehicle)
        while end > self._capacity:
            self._grow()
        arrays = self._arrays
        arrays["vehicle"][first:end] = vehicle
        arrays["seq"][first:end] = seq
        arrays["intended_ns"][first:end] = intended_ns
        self._n = end
        return first

    def sent(self, row: int, t_ns: int, duplicate: bool = False) -> None:
        """It was handed to the socket. Again for a resend: the first time stays, and a rejection
        of the earlier attempt is forgotten. `duplicate` is what MQTT calls one; not recorded.
        """
        if self._sent[row]:
            if self._resent[row] < MAX_RESENT:
                self._resent[row] += 1
            if self._cause[row]:
                self._acked[row] = self._reason[row] = self._cause[row] = 0
        else:
            self._sent[row] = t_ns

    def acked(self, row: int, t_ns: int, reason: int) -> None:
        """The PUBACK came, with this MQTT 5 reason code; 128 and more makes it `REJECTED`.

        Once an attempt: only a resend opens the row for another acknowledgement.
        """
        self._acked[row] = t_ns
        if reason:
            self._reason[row] = reason
            if reason >= REJECTED_FROM:
                self._cause[row] = DropCause.REJECTED

    def dropped(self, row: int, cause: int) -> None:
        """The generator gave it up, for this `DropCause`."""
        self._cause[row] = cause

    def column(self, name: Column) -> NDArray[Any]:
        """View of one column, `[len(self)]`, without a copy.

        It shows later writes to its rows, until the ledger grows: take it when the run is over.
        """
        return self._arrays[name][: self._n]

    def columns(self) -> LedgerColumns:
        """Views of all columns, without a copy."""
        return LedgerColumns(**{name: self.column(name) for name in _DTYPES})

    @property
    def nbytes(self) -> int:
        """Memory held, bytes (35 a row of capacity)."""
        return sum(array.nbytes for array in self._arrays.values())
