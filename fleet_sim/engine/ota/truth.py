"""A vehicle's truth as the measurement takes it."""

from fleet_sim.engine.ota.vehicle import Truth
from fleet_sim.measure.ota import VehicleTruth


def vehicle_truth(vehicle: int, had: str, truth: Truth, *, zero_s: float = 0.0) -> VehicleTruth:
    """`zero_s`: the moment of the truth's clock from which its times are to count."""

    def at(moment_s: float | None) -> float | None:
        return None if moment_s is None else moment_s - zero_s

    slots = truth.slots
    return VehicleTruth(
        vehicle=vehicle,
        had=had,
        runs=slots.committed.version,
        boots=slots.committed.defect != "boot",
        writes=dict(slots.writes),
        commits=dict(slots.commits),
        started_s=at(truth.started_s),
        installed_s=at(truth.installed_s),
        bad_boot_s=at(truth.bad_boot_s),
        broken_s=at(truth.broken_s),
        downloaded=truth.downloaded,
        wasted=truth.wasted,
        resumed=truth.resumed,
        power_losses=truth.power_losses,
        requests=truth.requests,
        violations=truth.violations,
        states=[(moment_s - zero_s, state) for moment_s, state in truth.states],
    )
