"""What a vehicle publishes, and what the IoT rule makes of it."""

from typing import Annotated, Literal

import msgspec

MAX_TELEMETRY_BYTES = 8_192
"""A larger payload is refused by the processor (a message of ours is 200-500 bytes; IoT Core's own
limit is 128 KB)."""

VehicleMode = Literal["driving", "parked", "charging"]

Vin = Annotated[str, msgspec.Meta(pattern=r"^[A-HJ-NPR-Z0-9]{17}$")]
"""17 characters without I, O and Q (ISO 3779). It is the thing name and the MQTT client id too."""

RunId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Run ids sort by start time: `20260601T170000Z-1a2b`."""


class SonarBurst(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Side-looking ultrasonic samples since the last message, oldest first.

    The last sample was taken at the message's `ts`, the one before it `1/rate_hz` s earlier.
    `range_cm` holds the distance to the first echo in cm; 0 is "no echo".
    """

    side: Literal["left", "right"]
    rate_hz: Annotated[int, msgspec.Meta(ge=1, le=100)]
    range_cm: Annotated[
        list[Annotated[int, msgspec.Meta(ge=0, le=1_000)]],
        msgspec.Meta(min_length=1, max_length=200),
    ]


class Telemetry(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """One message of one vehicle. `(run, vin, seq)` names it; `seq` counts from 1 in each run."""

    run: RunId
    vin: Vin
    seq: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    ts: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    """Event time: ms since the epoch, by the vehicle's (simulated) clock."""
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    speed_mps: Annotated[float, msgspec.Meta(ge=0, le=120)]
    heading_deg: Annotated[float, msgspec.Meta(ge=0, le=360)]
    """Clockwise from true north."""
    soc: Annotated[float, msgspec.Meta(ge=0, le=1)]
    """State of charge of the pack, 0-1."""
    mode: VehicleMode
    fix: Literal[0, 1, 2] = 2
    """0 no position, 1 dead reckoning, 2 satellite fix."""
    acc_m: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 0.0
    """The receiver's own estimate of its horizontal error, drms, m."""
    odo_km: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    fw: Annotated[str, msgspec.Meta(max_length=32)] = ""
    sonar: SonarBurst | None = None


class RuleRecord(Telemetry, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What the IoT rule puts into the stream: the message, whose it really was, and when.

    `thing` comes from the topic, which the IoT policy binds to the certificate: a message whose
    `vin` differs is a spoof and is refused.
    """

    thing: str = ""
    iot_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    """`timestamp()` of the rule: ms since the epoch when IoT Core evaluated it."""
