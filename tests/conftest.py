"""For all tests."""

from hypothesis import settings

# No test judges by the clock: on a busy machine an example may take longer than the 200 ms that are
# the default.
settings.register_profile("fleet-sim", deadline=None)
settings.load_profile("fleet-sim")
