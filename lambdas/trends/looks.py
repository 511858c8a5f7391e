"""What an hour of the archive says of the stalls: replayed through the telemetry processor's own
map matching. Pure.

Objects are taken in the order of their stream sequence numbers. A record that came again, or late,
is left out: a look less is no matter to a trend, and a look twice would be.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from fleet_sim.contract import ArchivedRecord, RuleRecord
from fleet_sim.contract.tables import Observation
from telemetry_processor import matching, track
from telemetry_processor.spots import SpotIndex

_line = msgspec.json.Decoder(ArchivedRecord)
_record = msgspec.json.Decoder(RuleRecord)


class Look(NamedTuple):
    street: str
    ts: int
    """Event time, ms since the epoch."""
    taken: bool


class Replay:
    """The vehicles of one hour, and where they are."""

    def __init__(self, index: SpotIndex, sample_percent: int = 100) -> None:
        self._index = index
        self._sample = sample_percent
        self._tracks: dict[tuple[str, str], track.Track] = {}
        self._last: dict[tuple[str, str], RuleRecord] = {}
        self.records = 0
        """Taken so far."""

    def take(self, body: bytes) -> Iterator[Look]:
        """The next object of the archive, unzipped."""
        by_vehicle: dict[tuple[str, str], list[RuleRecord]] = {}
        for text in body.splitlines():
            record = self._decode(text)
            if record is None:
                continue
            of = record.run, record.vin
            last = self._last.get(of)
            if last is None or record.seq > last.seq:
                self._last[of] = record
                by_vehicle.setdefault(of, []).append(record)
        for of, records in by_vehicle.items():
            self.records += len(records)
            yield from self._advance(of, records)

    def end(self) -> Iterator[Look]:
        """The hour is over: every vehicle is taken to have left its street."""
        for of, last in self._last.items():
            parked = msgspec.structs.replace(last, seq=last.seq + 1, mode="parked", sonar=None)
            yield from self._advance(of, [parked])

    def _decode(self, text: bytes) -> RuleRecord | None:
        try:
            record = _record.decode(_line.decode(text).record)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None  # the processor has refused and reported it
        if record.thing != record.vin:
            return None
        if zlib.crc32(record.vin.encode()) % 100 >= self._sample:
            return None
        return record

    def _advance(self, of: tuple[str, str], records: Iterable[RuleRecord]) -> Iterator[Look]:
        run, vin = of
        held = self._tracks.get(of) or track.Track(run)
        kept, stretches = track.advance(held, run, records, self._index.near_cm)
        error = kept.error
        for stretch in stretches:
            found, error = matching.judge(self._index, vin, stretch, error)
            for spot_id, seen in found:
                yield self._look(spot_id, seen)
        self._tracks[of] = msgspec.structs.replace(kept, error=error)

    def _look(self, spot_id: str, seen: Observation) -> Look:
        return Look(self._index.by_id[spot_id].street, seen.ts, seen.llr > 0)
