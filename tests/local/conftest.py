"""The local AWS, started once a test session, and one deployment in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_sim.cloud import deploy
from fleet_sim.cloud.local import Endpoints, LocalAws
from fleet_sim.cloud.target import Target, open_local


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """A running local AWS, empty at first."""
    # The developer's own settings must not leak into what the tests run.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    # With IAM: a role or a vehicle's policy that lacks a right fails a test.
    local = LocalAws(Path(tmp_path_factory.mktemp("local-aws")), enforce_iam=True)
    endpoints = local.start()
    try:
        yield endpoints
    finally:
        local.stop()


@pytest.fixture(scope="session")
def deployed(local_aws: Endpoints) -> tuple[Target, deploy.StackOutputs]:
    """The stacks, deployed to the local AWS under the name `fleet-sim`."""
    target = open_local(local_aws)
    return target, deploy.deploy(target)
