"""All that is said of a workload's cost, as one document."""

import msgspec

from fleet_sim.measure.cost.bill import LEFT_OUT, Bill, bill
from fleet_sim.measure.cost.capacity import Need, needs
from fleet_sim.measure.cost.prices import prices
from fleet_sim.measure.cost.savings import Saving, savings
from fleet_sim.measure.cost.workload import Workload


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`cost` of `summary.json`, and what `fleet-sim cost --json` prints."""

    workload: Workload
    bill: Bill
    savings: list[Saving]
    capacity: list[Need]
    left_out: list[str]


def estimate(work: Workload, region: str) -> Estimate:
    """`RegionError` when the price table has no such region."""
    table = prices(region)
    return Estimate(
        workload=work,
        bill=bill(work, table),
        savings=savings(work, table),
        capacity=needs(work, region),
        left_out=list(LEFT_OUT),
    )
