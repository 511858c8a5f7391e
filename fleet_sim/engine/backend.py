"""What stands behind a run's MQTT endpoint: a cloud that can be asked afterwards, or nothing."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

from rich.console import Console

from fleet_sim.cloud import collect, identities, invoke, manifest
from fleet_sim.cloud.deploy import StackOutputs
from fleet_sim.cloud.deploy import outputs as deployed_outputs
from fleet_sim.cloud.local import LocalAws
from fleet_sim.cloud.target import Target, TargetError, open_aws, open_local
from fleet_sim.contract import Spot
from fleet_sim.engine.embedded import EmbeddedBroker
from fleet_sim.engine.endpoint import TARGETS, Endpoint, parse_all
from fleet_sim.engine.operate import deploy_with_steps, local_dir, upload_city
from fleet_sim.engine.progress import Steps
from fleet_sim.measure.archived import ArchiveRows
from fleet_sim.transport import Certificate, LinkSettings, Tls
from fleet_sim.world import City


class CampaignPlace(NamedTuple):
    """Where a target takes campaigns and images."""

    target: Target
    url: str
    bucket: str


class Collected(NamedTuple):
    """What the cloud recorded of a run."""

    archive: ArchiveRows
    applied: dict[str, str]
    """Interval text by vin."""
    newest: dict[str, int]
    """Highest sequence number by vin."""
    spots: list[Spot]
    failures: list[tuple[str, str]]
    """Who put a message about this run into the failure queue, and why."""
    problems: list[str]
    """What could not be read, a line each."""


class Backend(Protocol):
    """Where a run goes. Its calls block; the engine makes them outside its event loop."""

    name: str
    api_url: str | None
    broken: bool
    """A fault of the scenario keeps its broker down: nobody can be online, and nothing is gone."""

    def prepare(self, vins: Sequence[str], cities: Sequence[City], steps: Steps) -> LinkSettings:
        """Make ready for these vehicles and towns, and say how vehicles connect."""

    @property
    def campaigns(self) -> CampaignPlace | None:
        """Where update campaigns are asked for; None where there is no such service."""

    @property
    def stack(self) -> tuple[Target, StackOutputs] | None:
        """The deployed stack; None where there is none."""

    def gone(self) -> str | None:
        """Why the target is known to be gone, or None."""

    def applied(self, run: str) -> int | None:
        """Messages of the run that the cloud has applied so far; None where there is no cloud."""

    def collect(self, run: str, since_ms: float) -> Collected | None:
        """Everything recorded of the run, which began at `since_ms` since the epoch; None where
        there is no cloud."""

    def close(self) -> None:
        """Stop what was started for this run."""


class CloudBackend:
    """A deployed stack, on AWS or on the local AWS."""

    broken = False

    def __init__(
        self, target: Target, outputs: StackOutputs, folder: Path, local: LocalAws | None
    ) -> None:
        self.name = str(target)
        self.api_url: str | None = outputs.api_url
        self._target = target
        self._outputs = outputs
        self._folder = folder
        self._local = local

    def prepare(self, vins: Sequence[str], cities: Sequence[City], steps: Steps) -> LinkSettings:
        target, outputs = self._target, self._outputs
        upload_city(target, outputs, cities, steps)
        steps.step("waking the functions")
        invoke.ready(target, outputs)
        steps.done("the processor and the API answer")
        steps.step("registering vehicles")
        registered = identities.provision(
            target,
            vins,
            self._folder,
            policy_name=outputs.vehicle_policy,
            on_progress=lambda done, total: steps.detail(f"{done} of {total}"),
        )
        count = len(registered.identities)
        steps.done(f"{count} vehicles registered: a thing, a certificate and its policy each")
        return LinkSettings(
            host=target.mqtt_host,
            port=target.mqtt_port,
            tls=Tls(
                ca_file=target.ca_file,
                certificates=[Certificate(i.cert_file, i.key_file) for i in registered.identities],
            ),
            # IoT Core accepts 500 connections a second in an account; the local AWS handshakes on
            # the core that the generator wants too.
            connect_rate=250.0,
        )

    @property
    def campaigns(self) -> CampaignPlace | None:
        outputs = self._outputs
        return CampaignPlace(self._target, outputs.campaigns_url, outputs.firmware_bucket)

    @property
    def stack(self) -> tuple[Target, StackOutputs] | None:
        return self._target, self._outputs

    def gone(self) -> str | None:
        if self._local is not None and not self._local.alive():
            return "the local AWS has stopped"
        return None

    def applied(self, run: str) -> int | None:
        return collect.applied_count(self._target, self._outputs, run)

    def collect(self, run: str, since_ms: float) -> Collected | None:
        target, outputs = self._target, self._outputs
        problems: list[str] = []
        with ThreadPoolExecutor(1) as pool:
            # A long poll waits a second for messages that mostly are not there.
            failures = pool.submit(collect.failures_of, target, outputs, run, since_ms)
            rows = collect.archive(target, outputs, run, problems, since_ms=since_ms)
            archive = ArchiveRows(rows)
            views = collect.vehicles(target, outputs, run)
            spots = collect.spots(target, outputs)
        return Collected(
            archive=archive,
            applied={vin: view.applied for vin, view in views.items()},
            newest={vin: view.seq for vin, view in views.items()},
            spots=spots,
            failures=failures.result(),
            problems=problems,
        )

    def close(self) -> None:
        if self._local is not None:
            self._local.stop()


class BrokerBackend:
    """An MQTT broker, or several that vehicles take in turn: connections, throughput and
    acknowledgement latency, no cloud."""

    broken = False

    def __init__(self, *endpoints: Endpoint, identities: Path | None = None) -> None:
        first, *more = endpoints
        self.name = ",".join(str(endpoint) for endpoint in endpoints)
        self.api_url: str | None = None
        places = tuple((endpoint.host, endpoint.port) for endpoint in more)
        self._link = first.link()._replace(more=places)
        self._identities = identities

    def prepare(self, vins: Sequence[str], cities: Sequence[City], steps: Steps) -> LinkSettings:
        link, folder = self._link, self._identities
        if link.tls is None or folder is None or manifest.load(folder) is None:
            return link
        steps.step("reading identities")
        own = manifest.provision(
            folder,
            self.name,
            vins,
            on_progress=lambda done, total: steps.detail(f"{done:,} of {total:,}"),
        )
        made = f", {own.made:,} of them new" if own.made else ""
        steps.done(f"{len(own.identities):,} identities in {folder}{made}")
        files = [Certificate(i.cert_file, i.key_file) for i in own.identities]
        return link._replace(tls=Tls(ca_file=own.ca_file, certificates=files))

    @property
    def campaigns(self) -> CampaignPlace | None:
        return None

    @property
    def stack(self) -> tuple[Target, StackOutputs] | None:
        return None

    def gone(self) -> str | None:
        return None

    def applied(self, run: str) -> int | None:
        return None

    def collect(self, run: str, since_ms: float) -> Collected | None:
        return None

    def close(self) -> None:
        pass


class EmbeddedBackend(BrokerBackend):
    """A broker of our own, started for this run."""

    def __init__(self) -> None:
        self.name = "embedded"
        self.api_url: str | None = None
        self._broker: EmbeddedBroker | None = None

    def prepare(self, vins: Sequence[str], cities: Sequence[City], steps: Steps) -> LinkSettings:
        steps.step("starting a broker")
        self._broker = EmbeddedBroker(len(vins))
        self._broker.start()
        super().__init__(Endpoint("mqtt", self._broker.host, self._broker.port))
        steps.done(f"embedded broker at {self.name}")
        return self._link

    def gone(self) -> str | None:
        if self._broker is not None and not self._broker.alive() and not self.broken:
            return "the embedded broker has stopped"
        return None

    def break_broker(self) -> None:
        """Kill it; what it held is lost."""
        assert self._broker is not None
        self.broken = True
        self._broker.kill()

    def mend_broker(self) -> None:
        """Start it anew, at the port it had. `EmbeddedBrokerError` when that fails."""
        assert self._broker is not None
        self._broker.start()
        self.broken = False

    def close(self) -> None:
        if self._broker is not None:
            self._broker.stop()


def open_backend(
    target: str, stack: str, region: str | None, state_dir: Path, steps: Steps, console: Console
) -> Backend:
    """Open `local`, `aws`, `aws:443`, `embedded` or a broker's address.

    `local` uses the local AWS that `up` keeps running, and otherwise starts one for this run.
    `TargetError`, `DeployError` or `LocalAwsError` when that fails.
    """
    if target == "local":
        return _open_local(stack, state_dir, steps, console)
    if target in ("aws", "aws:443"):
        where = open_aws(region, stack)
        if target == "aws:443":  # for networks that let nothing else out
            where = dataclasses.replace(where, mqtt_port=443)
        folder = state_dir / "identities" / f"{where.account_id}-{where.region}-{stack}"
        return CloudBackend(where, deployed_outputs(where), folder, None)
    if target == "embedded":
        return EmbeddedBackend()
    endpoints = parse_all(target)
    if not endpoints:
        raise TargetError(f"--target: {target!r} is not known (allowed: {TARGETS})")
    return BrokerBackend(*endpoints, identities=endpoints[0].identities(state_dir))


def _open_local(stack: str, state_dir: Path, steps: Steps, console: Console) -> Backend:
    endpoints = LocalAws.attach(local_dir(state_dir))
    started: LocalAws | None = None
    if endpoints is None:
        steps.step("starting the local AWS")
        started = LocalAws(state_dir / "run")
        endpoints = started.start()
        steps.done(f"local AWS at {endpoints.gateway_url}")
    try:
        where = open_local(endpoints, stack)
        outputs = deploy_with_steps(where, {}, steps, console)
    except BaseException:
        if started is not None:
            started.stop()
        raise
    folder = state_dir / "identities" / ("up" if started is None else "run")
    return CloudBackend(where, outputs, folder, started)
