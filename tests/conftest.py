"""For all tests."""

from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# No test judges by the clock: on a busy machine an example may take longer than the 200 ms that are
# the default.
settings.register_profile("fleet-sim", deadline=None)
settings.load_profile("fleet-sim")


class OneLocalAws(LoadScopeScheduling):
    """Keeps all of `tests/local` in one process: they share one local AWS, and what they start
    needs most of a core. Other tests stay together by file."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "tests/local" if path.startswith("tests/local/") else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneLocalAws:
    return OneLocalAws(config, log)
