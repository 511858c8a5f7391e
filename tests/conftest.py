"""For all tests."""

import os

from hypothesis import HealthCheck, settings

# Whoever runs them has a terminal of some width and colour, and a summary of their own to write to:
# none of it is what a command prints or writes in a test.
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)
for _name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
    os.environ.pop(_name, None)

# No test judges by the clock: on a busy machine an example may take longer than the 200 ms that are
# the default, and ten of them longer than a second. The examples are the same ones every time: what
# a change breaks is red, and nothing else. `pytest --hypothesis-profile search` looks for others.
CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fleet-sim", derandomize=True, **CALM)
settings.register_profile("search", **CALM)
settings.load_profile("fleet-sim")
