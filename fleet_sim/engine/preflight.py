"""Limits of this machine that a run would hit, found before it starts."""

import resource

from fleet_sim.scenario import Scenario
from fleet_sim.world import World

SPARE_DESCRIPTORS = 256
"""Log files, the event loop, HTTP connections to the cloud, certificates while they are read."""


class PreflightError(RuntimeError):
    """A limit is too low; the message names it and the remedy."""


def build_world(scenario: Scenario, name: str) -> World:
    """The scenario's world; `PreflightError`, in the name of `name`, when it does not fit."""
    try:
        return World(scenario)
    except ValueError as error:
        raise PreflightError(f"{name}: {error}") from None


def check_descriptors(vehicles: int) -> None:
    """Raise the soft limit of open files as far as needed and allowed.

    `PreflightError` when the hard limit is too low for a socket a vehicle.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = vehicles + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise PreflightError(
            f"{vehicles} vehicles need {needed} open files and this process may have {hard} "
            f"(ulimit -Hn): raise it in /etc/security/limits.conf, or run at most "
            f"{hard - SPARE_DESCRIPTORS} vehicles"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
