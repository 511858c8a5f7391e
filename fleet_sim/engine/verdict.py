"""How a run ended, and the exit code that says so."""

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of `fleet-sim run` (k6's for a broken threshold)."""

    PASSED = 0
    INVALID = 2
    """Scenario or arguments are invalid."""
    TARGET = 3
    """The target could not be reached or deployed, or went away."""
    OVERLOADED = 4
    """The generator could not hold the schedule."""
    THRESHOLD = 99
    INTERRUPTED = 130
