"""For all tests."""

from hypothesis import HealthCheck, settings

# No test judges by the clock: on a busy machine an example may take longer than the 200 ms that are
# the default, and ten of them longer than a second. The examples are the same ones every time: what
# a change breaks is red, and nothing else. `pytest --hypothesis-profile search` looks for others.
CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fleet-sim", derandomize=True, **CALM)
settings.register_profile("search", **CALM)
settings.load_profile("fleet-sim")
