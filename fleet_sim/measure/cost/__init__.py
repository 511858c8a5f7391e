"""What a fleet would cost on AWS: list prices applied to a workload, quotas, and what lowers it."""

from fleet_sim.measure.cost.bill import LEFT_OUT, Bill, Line, bill
from fleet_sim.measure.cost.capacity import Need, needs
from fleet_sim.measure.cost.estimate import Estimate, estimate
from fleet_sim.measure.cost.prices import RegionError, prices, regions
from fleet_sim.measure.cost.savings import Saving, savings
from fleet_sim.measure.cost.workload import Workload

__all__ = [
    "LEFT_OUT",
    "Bill",
    "Estimate",
    "Line",
    "Need",
    "RegionError",
    "Saving",
    "Workload",
    "bill",
    "estimate",
    "needs",
    "prices",
    "regions",
    "savings",
]
