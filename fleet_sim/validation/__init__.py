"""Holds the models against published figures and independent tools: `make validate`.

One module a model; each has a tuple `CHECKS`. The test suite runs small samples of the same checks.
"""

from fleet_sim.validation.check import Check, Outcome

__all__ = ["Check", "Outcome"]
