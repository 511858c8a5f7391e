"""What would make a bill smaller, and by how much: the same bill, made out for another workload."""

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from fleet_sim.measure.cost.bill import bill
from fleet_sim.measure.cost.prices import Prices
from fleet_sim.measure.cost.workload import IOT_UNIT, TOPIC_BYTES, Workload

PACKED = 10
"""Messages that are packed into one in the proposal."""
LARGE_BATCH, LONG_WINDOW_S = 4_000, 5.0
"""Records of 1 KB in base64 fit into the 6 MB of an invocation's payload."""
WORTH = 0.01
"""Share of the bill below which a saving is not told."""


class Saving(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change, taken alone: savings do not add up."""

    change: str
    usd: float
    usd_per_month: float
    share: float
    """Of the bill, 0-1."""
    price: str
    """What is lost by it."""


def savings(work: Workload, prices: Prices) -> list[Saving]:
    """The largest first; what saves less than a hundredth is left out."""
    now = bill(work, prices)
    found = []
    for change, other, price in _changes(work):
        then = bill(other, prices)
        usd = now.usd - then.usd
        if usd > now.usd * WORTH:
            monthly = now.usd_per_month - then.usd_per_month
            found.append(Saving(change, usd, monthly, usd / now.usd, price))
    return sorted(found, key=lambda saving: -saving.usd)


def _changes(work: Workload) -> Iterator[tuple[str, Workload, str]]:
    if not work.basic_ingest:
        yield (
            "basic ingest: publish to $aws/rules/RULE/… instead of a topic",
            replace(work, basic_ingest=True),
            "nobody can subscribe to the telemetry; the topic is longer",
        )
    yield (
        f"pack {PACKED} messages into one",
        replace(
            work,
            messages_per_s=work.messages_per_s / PACKED,
            sizes={size * PACKED: share for size, share in work.sizes.items()},
            records_per_batch=None,
            lambda_ms=None,
            spots_per_message=work.spots_per_message * PACKED,
            archive_bytes=work.archive_bytes * PACKED,
        ),
        f"the map is up to {PACKED} periods older; the processor must learn to unpack",
    )
    yield (
        "publish half as often",
        replace(
            work,
            messages_per_s=work.messages_per_s / 2,
            records_per_batch=None,
            lambda_ms=None,
        ),
        "the map is older by a period",
    )
    other = "on_demand" if work.stream == "provisioned" else "provisioned"
    yield (
        f"a stream that is {other.replace('_', '-')}",
        replace(work, stream=other),
        "shards must be resized by hand" if other == "provisioned" else "none",
    )
    if work.metered(IOT_UNIT, TOPIC_BYTES) > 1:
        yield (
            "payloads below 5 KB",
            replace(work, sizes={IOT_UNIT - TOPIC_BYTES - 64: 1.0}),
            "a denser encoding, or less in a message",
        )
    yield (
        f"batches of up to {LARGE_BATCH:,} records within {LONG_WINDOW_S:g} s",
        replace(
            work, batch=LARGE_BATCH, window_s=LONG_WINDOW_S, records_per_batch=None, lambda_ms=None
        ),
        f"the map is up to {LONG_WINDOW_S:g} s older",
    )
    if work.vehicle_bytes > 1024:
        yield (
            "a vehicle's item of at most 1 KB",
            replace(work, vehicle_bytes=1024),
            "a shorter track, and applied numbers elsewhere",
        )
    if work.architecture == "x86_64":
        yield ("Lambda on arm64", replace(work, architecture="arm64"), "none")
