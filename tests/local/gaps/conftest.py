"""Two local AWSs for the tests of the gaps: ours, and stock MiniStack."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from gap_harness import GapAws

from fleet_sim.cloud.local import LocalAws
from fleet_sim.cloud.local.gaps import GAPS, SKIP_VARIABLE


@pytest.fixture(scope="session")
def gap_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GapAws]:
    """Ours. Its shortest keep-alive and its metrics' minute are a second: a test outwaits them."""
    quick = {"FLEET_SIM_LOCAL_KEEP_ALIVE_MIN_S": "1", "FLEET_SIM_LOCAL_METRIC_MINUTE_S": "1"}
    yield from _running(tmp_path_factory, 60.0, quick)


@pytest.fixture(scope="session")
def stock_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GapAws]:
    """MiniStack as it comes."""
    yield from _running(tmp_path_factory, 1.5, {SKIP_VARIABLE: ",".join(GAPS)})


def _running(
    factory: pytest.TempPathFactory, patience_s: float, environment: dict[str, str]
) -> Iterator[GapAws]:
    folder = factory.mktemp("aws")
    before = dict(os.environ)
    os.environ.update(environment)
    local = LocalAws(folder / "state")
    try:
        endpoints = local.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    yield GapAws(endpoints, folder, patience_s)
    local.stop()


@pytest.fixture
def aws(request: pytest.FixtureRequest) -> GapAws:
    """Ours, or stock MiniStack for the twin that `against_stock` adds."""
    running: GapAws = request.getfixturevalue(getattr(request, "param", "gap_aws"))
    return running
