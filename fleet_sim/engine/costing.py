"""A run as a workload: what a fleet that did this all the time would cost on AWS."""

import math
from collections.abc import Mapping

import msgspec
import numpy as np

from fleet_sim.engine.leavings import Driven
from fleet_sim.measure.blocks import distinct
from fleet_sim.measure.cost import Estimate, RegionError, Workload, estimate
from fleet_sim.measure.cost.prices import Prices, prices
from fleet_sim.measure.ota import OtaReport
from fleet_sim.measure.stages import NsArray, latency_blocks
from fleet_sim.scenario import Scenario

DEFAULT_REGION = "us-east-1"
"""Of targets that are in none."""
SIZE_STEP = 16
"""Payloads are told in steps of so many bytes, rounded up."""
FEW = 20
"""Messages that were seen stored, below which they say nothing of an invocation's duration."""


def prices_of(region: str) -> Prices | None:
    """None when the table has no such region."""
    try:
        return prices(region)
    except RegionError:
        return None


def cost_of(
    scenario: Scenario,
    driven: Driven,
    times: Mapping[str, NsArray],
    target: str,
    region: str,
    campaign: OtaReport | None = None,
) -> Estimate | None:
    """None when nothing was sent, or when the price table has no such region."""
    work = workload_of(scenario, driven, times, measured=target.startswith("aws"))
    if work is None:
        return None
    if campaign is not None and campaign.started:
        work = msgspec.structs.replace(
            work,
            updates=float(campaign.started),
            firmware_bytes=campaign.downloaded_gb * 1e9 / campaign.started,
        )
    try:
        return estimate(work, region)
    except RegionError:
        return None  # `fleet-sim cost RUN --region` says which there are


def workload_of(
    scenario: Scenario, driven: Driven, times: Mapping[str, NsArray], *, measured: bool
) -> Workload | None:
    """Rates are by simulated time: a vehicle of a hurried scenario stands for one that is not.
    `measured`: the functions ran on AWS, so that their durations are a bill's."""
    speed = scenario.clock.speed
    hours = (driven.end_ns - driven.t0_ns) / 3.6e12 * speed
    sent = int(np.count_nonzero(driven.columns.sent_ns))
    sizes: dict[int, int] = {}
    for size, count in driven.sizes.items():
        step = math.ceil(size / SIZE_STEP) * SIZE_STEP
        sizes[step] = sizes.get(step, 0) + count
    told = sum(sizes.values())
    if hours <= 0 or not sent or not told:
        return None
    return Workload(
        vehicles=driven.vehicles,
        messages_per_s=sent / (hours * 3600),
        sizes={size: count / told for size, count in sorted(sizes.items())},
        hours=hours,
        connects_per_s=sum(sample.attempts for sample in driven.samples) / (hours * 3600),
        records_per_batch=_records_per_batch(times) if speed == 1 else None,
        lambda_ms=_invocation_ms(times) if measured else None,
    )


def _records_per_batch(times: Mapping[str, NsArray]) -> float | None:
    """Messages by different moments at which the processor took up a batch."""
    processed = times.get("processed")
    if processed is None:
        return None
    records = int(np.count_nonzero(processed))
    if not records:
        return None
    return records / int(np.count_nonzero(distinct(processed)))


def _invocation_ms(times: Mapping[str, NsArray]) -> float | None:
    """From a batch's beginning until the vehicle's state is written, which comes last: median."""
    processed, stored = times.get("processed"), times.get("stored")
    if processed is None or stored is None:
        return None
    took = np.concatenate([np.zeros(0, np.int64), *latency_blocks(processed, stored)])
    return float(np.median(took)) / 1e6 if took.size >= FEW else None
