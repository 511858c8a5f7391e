"""What a fleet does to the pipeline, in rates: all that a bill and the capacity follow from."""

import math
from typing import Literal

import msgspec

KB = 1024
GB = 1024.0**3
IOT_UNIT = 5 * KB
"""A message, a rule and an action are metered in these: aws.amazon.com/iot-core/pricing."""
PUT_UNIT = 25 * KB
TOPIC_BYTES = len("fleet/12345678901234567/telemetry")
"""Metered together with the payload."""
RULE_BYTES = len(',"thing":"12345678901234567","iot_ms":1780000000000')
"""What the topic rule adds to a payload."""
SHARD_RECORDS_PER_S, SHARD_BYTES_PER_S = 1_000, 1024 * KB
"""What one shard takes (docs.aws.amazon.com/streams, quotas and limits)."""
HEADROOM = 0.8
"""Share of a shard that is planned with: partition keys do not spread evenly."""

ONLINE_STEP_S = 10
"""Those online are counted by the ten seconds in which they must be heard again."""
CALL_ITEMS = 8
"""Items of the counters among which calls of spots move: 7.0 of them in a batch of 2,000 records,
5.2 in one of 500, of 100 vehicles in a small city."""


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rates are of the whole fleet, averages over `hours`. Item sizes, archive bytes and spot
    writes are what the telemetry processor made of 10,000 messages of a simulated city."""

    vehicles: int
    messages_per_s: float
    sizes: dict[int, float]
    """Bytes of payload to the share of messages that have them; shares add up to 1."""
    hours: float = 730.0
    """How long it goes on; connected all the time."""
    connects_per_s: float = 0.0
    """Attempts to connect, the first of each vehicle apart."""
    basic_ingest: bool = False
    """Vehicles publish to `$aws/rules/…`: no charge for the message."""
    stream: Literal["provisioned", "on_demand"] = "provisioned"
    batch: int = 500
    """Most records of an invocation (infra/pipeline.yaml)."""
    window_s: float = 1.0
    """Longest wait for a fuller batch (infra/pipeline.yaml)."""
    records_per_batch: float | None = None
    """As measured; unset: from the rate of a shard, `batch` and `window_s`."""
    lambda_ms: float | None = None
    """Of an invocation, as measured; unset: 60 ms for the requests and 0.5 ms a record."""
    memory_mb: int = 1024
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    vehicle_bytes: int = 1_500
    """Of a vehicle's item."""
    spot_bytes: int = 400
    """Of a spot's item, and of its copy in the index: at most."""
    spots_per_message: float = 0.2
    """Spots written, by message."""
    archive_bytes: float = 65.0
    """By message, gzip."""
    archive_days: float = 90.0
    log_bytes: float = 700.0
    """By invocation: its own line, and START, END and REPORT."""
    log_days: float = 30.0
    health: bool = True
    """The function of fleet health counts what is archived (infra/health.yaml)."""
    health_window_s: float = 10.0
    """How long archived objects are gathered for it."""
    health_ms_per_object: float = 20.0
    """Of its function, of 512 MB."""
    metrics: int = 8
    """Custom metrics."""
    alarms: int = 4
    api_per_s: float = 0.0
    """Requests to the API."""
    api_ms: float = 25.0
    """Of a request's function, of 512 MB."""
    updates: float = 0.0
    """Vehicles that get an update over the air, in all of `hours`."""
    firmware_bytes: float = 0.0
    """Of one download."""

    @property
    def messages(self) -> float:
        """In all of `hours`."""
        return self.messages_per_s * self.hours * 3600

    def metered(self, unit: int, extra: int) -> float:
        """Units of a message on average, when `extra` bytes come on top of its payload."""
        return sum(share * math.ceil((size + extra) / unit) for size, share in self.sizes.items())

    @property
    def record_bytes(self) -> float:
        """Of a stream record, on average."""
        return sum(share * (size + RULE_BYTES) for size, share in self.sizes.items())

    @property
    def shards(self) -> int:
        """That a provisioned stream needs."""
        by_records = self.messages_per_s / SHARD_RECORDS_PER_S
        by_bytes = self.messages_per_s * self.record_bytes / SHARD_BYTES_PER_S
        return max(1, math.ceil(round(max(by_records, by_bytes) / HEADROOM, 9)))

    @property
    def records(self) -> float:
        """By invocation."""
        if self.records_per_batch is not None:
            return self.records_per_batch
        return min(float(self.batch), max(1.0, self.messages_per_s / self.shards * self.window_s))

    @property
    def invocations_per_s(self) -> float:
        return self.messages_per_s / self.records

    @property
    def invocation_ms(self) -> float:
        return self.lambda_ms if self.lambda_ms is not None else 60.0 + 0.5 * self.records

    @property
    def vehicles_per_batch(self) -> float:
        """Different vehicles in an invocation: each is written once. A shard has its own."""
        return max(1.0, min(self.records, self.vehicles / self.shards))

    @property
    def vehicle_writes_per_s(self) -> float:
        """Write request units of the vehicle table."""
        units = math.ceil(self.vehicle_bytes / KB)
        return self.invocations_per_s * self.vehicles_per_batch * units

    @property
    def health_invocations_per_s(self) -> float:
        """At most 100 objects each."""
        if not self.health:
            return 0.0
        return max(
            self.invocations_per_s / 100, min(self.invocations_per_s, 1 / self.health_window_s)
        )

    @property
    def spot_writes_per_s(self) -> float:
        """Write request units of the spot table, half of them its index's."""
        return self.messages_per_s * self.spots_per_message * 2 * math.ceil(self.spot_bytes / KB)

    @property
    def counter_writes_per_s(self) -> float:
        """Write request units of the counters: each item that an invocation moves costs two, since
        all are in one transaction.

        One item has the fleet's charge. Two have who is online, and a vehicle moves from one to the
        other when it is heard in another ten seconds than before. Calls of spots are in items by
        when they fade: some `CALL_ITEMS` are in use, and a spot looked at leaves one for another.
        """
        online = 2 * min(1.0, self.vehicles / max(self.messages_per_s, 1e-12) / ONLINE_STEP_S)
        moved = 2 * self.records * self.spots_per_message
        calls = CALL_ITEMS * (1 - math.pow(1 - 1 / CALL_ITEMS, moved))
        return self.invocations_per_s * (1 + online + calls) * 2
