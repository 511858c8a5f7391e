"""What vehicles sense, as the bytes of telemetry messages: JSON, MessagePack or Protobuf.

JSON and MessagePack are `contract.Telemetry` through msgspec. Protobuf is what
`contract/telemetry.proto` says. Its numbers have fixed sizes: a batch is one NumPy array with the
tags in it, sliced by message, at 1 us a message; the official library takes 6 to 11. The tests
read it with that library.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from fleet_sim.contract import SonarBurst, Telemetry, VehicleMode
from fleet_sim.world import Observation

SONAR_RATE_HZ = 20

Encoding = Literal["json", "msgpack", "protobuf"]
Encode = Callable[[Sequence[str], Sequence[int], int, Observation], list[bytes]]
"""Payloads of k vehicles from their VINs, sequence numbers, event time in ms, and senses."""

_MODES: tuple[VehicleMode, ...] = ("driving", "parked", "charging")


def encoder(encoding: Encoding, run: str, firmware: Mapping[str, str]) -> Encode:
    """Of the telemetry of one run; `firmware` has the version that each vehicle says it runs, by
    VIN."""
    if encoding == "protobuf":
        return _Protobuf(run, firmware)
    one = msgspec.json.Encoder() if encoding == "json" else msgspec.msgpack.Encoder()
    return _Structs(run, firmware, one.encode)


class _Structs:
    def __init__(
        self, run: str, firmware: Mapping[str, str], encode: Callable[[Any], bytes]
    ) -> None:
        self._run = run
        self._firmware = firmware
        self._encode = encode

    def __call__(
        self, vins: Sequence[str], seqs: Sequence[int], ts_ms: int, seen: Observation
    ) -> list[bytes]:
        run, firmware, encode = self._run, self._firmware, self._encode
        columns: Iterable[tuple[Any, ...]] = zip(
            vins,
            seqs,
            seen.lat.round(7).tolist(),
            seen.lon.round(7).tolist(),
            seen.speed_mps.round(2).tolist(),
            seen.heading_deg.round(1).tolist(),
            seen.soc.round(4).tolist(),
            seen.mode.tolist(),
            seen.fix.tolist(),
            seen.acc_m.round(1).tolist(),
            seen.odo_km.round(3).tolist(),
            seen.sonar_ok.tolist(),
            seen.range_cm.tolist(),
            strict=True,
        )
        return [
            encode(
                Telemetry(
                    run,
                    vin,
                    seq,
                    ts_ms,
                    lat,
                    lon,
                    speed,
                    heading,
                    soc,
                    _MODES[mode],
                    fix,
                    acc,
                    odo,
                    firmware[vin],
                    SonarBurst("right", SONAR_RATE_HZ, ranges) if on else None,
                )
            )
            for vin, seq, lat, lon, speed, heading, soc, mode, fix, acc, odo, on, ranges in columns
        ]


_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
"""Wire types (Protocol Buffers, "Encoding")."""

_BODY = (
    ("seq", 3, _FIXED32, "<u4"),
    ("ts", 4, _FIXED64, "<u8"),
    ("lat", 5, _FIXED64, "<f8"),
    ("lon", 6, _FIXED64, "<f8"),
    ("speed_mps", 7, _FIXED32, "<f4"),
    ("heading_deg", 8, _FIXED32, "<f4"),
    ("soc", 9, _FIXED32, "<f4"),
    ("mode", 10, _VARINT, "u1"),
    ("fix", 11, _VARINT, "u1"),
    ("acc_m", 12, _FIXED32, "<f4"),
    ("odo_km", 13, _FIXED64, "<f8"),
)
"""Field, its number, its wire type, and how it stands in memory. Enumerations and `fix` are below
128, so that their varint is the byte itself."""
_SAMPLES = 20


class _Protobuf:
    def __init__(self, run: str, firmware: Mapping[str, str]) -> None:
        self._run = _text(1, run)
        texts = {version: _text(14, version) for version in set(firmware.values())}
        self._firmware = {vin: texts[version] for vin, version in firmware.items()}
        parts: list[tuple[str, str]] = []
        for name, _, _, kind in _BODY:
            parts += [(f"tag {name}", "u1"), (name, kind)]
        self._body = np.zeros((), np.dtype(parts))
        for name, number, wire, _ in _BODY:
            self._body[f"tag {name}"] = number << 3 | wire
        sonar = [(name, "u1") for name in ("tag", "size", "t1", "side", "t2", "rate", "t3", "n")]
        self._sonar = np.zeros((), np.dtype([*sonar, ("range_cm", "<u2", (_SAMPLES,))]))
        self._sonar["tag"] = 15 << 3 | _LENGTH
        self._sonar["size"] = self._sonar.dtype.itemsize - 2
        self._sonar["t1"], self._sonar["side"] = 1 << 3 | _VARINT, 1
        self._sonar["t2"], self._sonar["rate"] = 2 << 3 | _VARINT, SONAR_RATE_HZ
        self._sonar["t3"], self._sonar["n"] = 3 << 3 | _LENGTH, 2 * _SAMPLES

    def __call__(
        self, vins: Sequence[str], seqs: Sequence[int], ts_ms: int, seen: Observation
    ) -> list[bytes]:
        k = len(vins)
        body = np.full(k, self._body)
        body["seq"], body["ts"] = seqs, ts_ms
        body["lat"], body["lon"] = seen.lat.round(7), seen.lon.round(7)
        body["speed_mps"], body["heading_deg"] = seen.speed_mps.round(2), seen.heading_deg.round(1)
        body["soc"], body["mode"], body["fix"] = seen.soc.round(4), seen.mode, seen.fix
        body["acc_m"], body["odo_km"] = seen.acc_m.round(1), seen.odo_km.round(3)
        sonar = np.full(k, self._sonar)
        sonar["range_cm"] = seen.range_cm
        numbers, bursts = body.tobytes(), sonar.tobytes()
        n, m = body.itemsize, sonar.itemsize
        run, firmware = self._run, self._firmware
        return [
            b"".join(
                (
                    run,
                    _text(2, vin),
                    numbers[i * n : i * n + n],
                    firmware[vin],
                    bursts[i * m : i * m + m] if on else b"",
                )
            )
            for i, (vin, on) in enumerate(zip(vins, seen.sonar_ok.tolist(), strict=True))
        ]


def _text(number: int, text: str) -> bytes:
    """A string field; all of ours are shorter than 128 bytes."""
    data = text.encode()
    if len(data) > 127:
        raise ValueError(f"telemetry: text of {len(data)} bytes (allowed: at most 127)")
    return bytes((number << 3 | _LENGTH, len(data))) + data
