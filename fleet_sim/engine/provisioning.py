"""`fleet-sim provision`: identities before a run, which a run then finds and uses."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from fleet_sim.cloud import identities, manifest
from fleet_sim.cloud.authority import CA_CERTIFICATE, Authority, AuthorityError, write_private
from fleet_sim.cloud.deploy import outputs as deployed_outputs
from fleet_sim.cloud.identities import IdentityError
from fleet_sim.cloud.target import TargetError, open_aws
from fleet_sim.engine.endpoint import BROKERS, Endpoint, parse
from fleet_sim.engine.operate import find_target
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.engine.progress import ConsoleSteps
from fleet_sim.scenario import Scenario
from fleet_sim.world.towns import fleet_vins
from fleet_sim.world.vin import MAX_SERIAL, vin

DEFAULT_VEHICLES = 1_000
BROKER_FILE = "broker.pem"


class Order(NamedTuple):
    """What the command line asks for."""

    target: str
    vehicles: int | None = None
    """Without a scenario: of one group, which is the first of any scenario."""
    ca_out: Path | None = None
    """Where to put the certificate that the broker must trust."""
    broker_out: Path | None = None
    """Where to put a certificate and key for the broker itself."""
    broker_ca: str | None = None
    """Who vouches for the broker: a PEM file, `system`, or None for our own authority."""
    stack: str = "fleet-sim"
    region: str | None = None
    state_dir: Path = Path(".fleet-sim")


def vins_of(scenario: Scenario | None, vehicles: int | None) -> list[str]:
    """VINs of the scenario's vehicles, or of the first group of `vehicles`."""
    if scenario is not None:
        return fleet_vins(scenario)
    count = DEFAULT_VEHICLES if vehicles is None else vehicles
    if count > MAX_SERIAL:
        raise PreflightError(f"--vehicles: {count} is not allowed (allowed: 1..{MAX_SERIAL})")
    return [vin(0, i) for i in range(count)]


def provision(order: Order, vins: Sequence[str], console: Console) -> Path:
    """Make what is missing, and answer the folder. `TargetError`, `IdentityError`."""
    endpoint = parse(order.target)
    if endpoint is not None:
        return _broker(order, endpoint, vins, console)
    if order.target not in ("local", "aws"):
        raise TargetError(
            f"--target: {order.target!r} is not known (allowed: local, aws, {BROKERS})"
        )
    if order.ca_out or order.broker_out or order.broker_ca:
        raise PreflightError(
            f"--ca-out, --broker-out and --broker-ca are for brokers: {order.target} has a "
            "certificate authority of its own (allowed: without them)"
        )
    return _cloud(order, vins, console)


def _cloud(order: Order, vins: Sequence[str], console: Console) -> Path:
    folder = order.state_dir / "identities"
    if order.target == "aws":
        where = open_aws(order.region, order.stack)
        folder /= f"{where.account_id}-{where.region}-{order.stack}"
    else:
        where = find_target(order.state_dir, "local", order.stack, order.region)
        folder /= "up"
    with ConsoleSteps(console) as steps:
        steps.step("registering vehicles")
        made = identities.provision(
            where,
            vins,
            folder,
            policy_name=deployed_outputs(where).vehicle_policy,
            on_progress=lambda done, total: steps.detail(f"{done:,} of {total:,}"),
        )
        steps.done(f"{len(made.identities):,} identities in {folder}")
    return folder


def _broker(order: Order, endpoint: Endpoint, vins: Sequence[str], console: Console) -> Path:
    if not endpoint.tls:
        raise TargetError(
            f"--target: {endpoint} has no TLS, so vehicles need no certificates there (allowed: "
            "mqtts://HOST:PORT, wss://HOST:PORT/PATH)"
        )
    folder = endpoint.identities(order.state_dir)
    known = manifest.load(folder)
    ca_file = _who_vouches(order, known)
    with ConsoleSteps(console) as steps:
        steps.step("making identities")
        own = manifest.provision(
            folder,
            str(endpoint),
            vins,
            ca_file=ca_file,
            on_progress=lambda done, total: steps.detail(f"{done:,} of {total:,}"),
        )
        steps.done(f"{len(vins):,} identities in {folder}, {own.made:,} of them new")
        try:
            for line in _for_the_broker(order, endpoint, folder):
                steps.done(line)
        except (OSError, AuthorityError) as error:
            raise IdentityError(str(error)) from error
    return folder


def _who_vouches(order: Order, known: manifest.BrokerManifest | None) -> str | None:
    wanted = order.broker_ca
    if wanted is None:
        return CA_CERTIFICATE if known is None else known.ca_file
    ca_file = None if wanted == "system" else str(Path(wanted).expanduser().resolve())
    if ca_file is not None and not Path(ca_file).is_file():
        raise PreflightError(f"--broker-ca: {wanted}: no such file (allowed: a PEM file, system)")
    if known is not None and known.ca_file != ca_file:
        raise PreflightError(
            f"--broker-ca: the manifest says {known.ca_file or 'system'} (allowed: change "
            f"ca_file there, or mqtt.tls.ca in the scenario)"
        )
    return ca_file


def _for_the_broker(order: Order, endpoint: Endpoint, folder: Path) -> list[str]:
    """Write what the broker needs, and say what was written."""
    lines = []
    if order.ca_out is not None:
        order.ca_out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / CA_CERTIFICATE, order.ca_out)
        lines.append(f"{order.ca_out}: who signed the vehicles; the broker must trust it")
    if order.broker_out is not None:
        pem = Authority.open(folder).broker(endpoint.host)
        order.broker_out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / CA_CERTIFICATE, order.broker_out / CA_CERTIFICATE)
        write_private(order.broker_out / BROKER_FILE, pem)
        lines.append(
            f"{order.broker_out}: {CA_CERTIFICATE}, and {BROKER_FILE} with the certificate and "
            f"the key of {endpoint.host}"
        )
    return lines
