"""`up`, `down`, `deploy` and `status`: the cloud without a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet_sim.cloud import deploy, registry, site
from fleet_sim.cloud.local import LocalAws
from fleet_sim.cloud.target import Target, TargetError, open_aws, open_local
from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.progress import ConsoleSteps, Steps
from fleet_sim.world import build_cities, towns
from fleet_sim.world.city import City

_BAD = ("FAILED", "ROLLBACK")


def local_dir(state_dir: Path) -> Path:
    """Folder of the local AWS that `up` keeps running."""
    return state_dir / "local"


def up(state_dir: Path, stack: str, console: Console) -> None:
    """Start the local AWS unless it runs, deploy to it, and print where everything is."""
    with ConsoleSteps(console) as steps:
        endpoints = LocalAws.attach(local_dir(state_dir))
        if endpoints is None:
            steps.step("starting the local AWS")
            endpoints = LocalAws(local_dir(state_dir), keep_running=True).start()
            steps.done(f"local AWS at {endpoints.gateway_url}")
        outputs = deploy_with_steps(
            open_local(endpoints, stack), {}, steps, console, each_resource=True
        )
    console.print(f"map      {outputs.site_url}", soft_wrap=True)
    console.print(f"API      {outputs.api_url}", soft_wrap=True)
    console.print(f"MQTT     mqtts://{endpoints.mqtt_host}:{endpoints.mqtt_port}", soft_wrap=True)
    console.print(f"AWS APIs {endpoints.gateway_url}", soft_wrap=True)
    console.print("stop it with: fleet-sim down")


def down(state_dir: Path, console: Console) -> None:
    """Stop what `up` started."""
    if LocalAws.stop_running(local_dir(state_dir)):
        console.print("local AWS stopped")
    else:
        console.print("no local AWS is running")


def find_target(state_dir: Path, target: str, stack: str, region: str | None) -> Target:
    """The running local AWS or the AWS account. `TargetError` when there is none."""
    if target == "aws":
        return open_aws(region, stack)
    endpoints = LocalAws.attach(local_dir(state_dir))
    if endpoints is None:
        raise TargetError("no local AWS is running here (start it with: fleet-sim up)")
    return open_local(endpoints, stack)


def deploy_with_steps(
    target: Target,
    parameters: Mapping[str, str],
    steps: Steps,
    console: Console,
    *,
    each_resource: bool = False,
) -> deploy.StackOutputs:
    """Deploy, showing each resource as it comes; those that fail are printed, and with
    `each_resource` those that are done too."""
    steps.step(f"deploying {target.stack}")
    changed = 0

    def on_event(resource: str, kind: str, status: str, reason: str) -> None:
        nonlocal changed
        changed += status.endswith("_COMPLETE") or status == "UPLOADED"
        steps.detail(f"{resource} {status.lower().replace('_', ' ')}")
        if any(bad in status for bad in _BAD):
            console.print(Text(f"  {resource} ({kind}) {status}: {reason}", style="red"))
        elif each_resource and status.endswith("_COMPLETE"):
            console.print(Text(f"  {resource} ({kind}) {status}", style="dim"))

    outputs = deploy.deploy(target, parameters=parameters, on_event=on_event)
    steps.done(f"deployed {target}" + (f", {changed} resources" if changed else ", no changes"))
    return outputs


def deploy_stacks(
    state_dir: Path,
    target: str,
    stack: str,
    region: str | None,
    parameters: Mapping[str, str],
    console: Console,
    *,
    delete: bool = False,
    city: Path | None = None,
) -> None:
    """Create, update or delete the stacks. With a scenario as `city`, its stalls and streets are
    what the cloud knows afterwards."""
    where = find_target(state_dir, target, stack, region)
    cities = None if city is None else build_cities(load_scenario(city))
    with ConsoleSteps(console) as steps:
        if delete:
            steps.step(f"deleting {where.stack}")
            deploy.delete(where, on_event=lambda r, _k, s, _w: steps.detail(f"{r} {s.lower()}"))
            steps.done(f"deleted {where}")
            return
        outputs = deploy_with_steps(where, parameters, steps, console, each_resource=True)
        if cities is not None:
            upload_city(where, outputs, cities, steps)
    console.print(f"map {outputs.site_url}", soft_wrap=True)
    console.print(f"API {outputs.api_url}", soft_wrap=True)


def upload_city(
    where: Target, outputs: deploy.StackOutputs, cities: Sequence[City], steps: Steps
) -> None:
    """Their stalls and streets are what the cloud knows afterwards, and it believes nothing."""
    steps.step("uploading the spot registry")
    stalls = towns.registry(cities)
    registry.upload(
        where,
        outputs,
        stalls,
        towns.street_network(cities, stalls.city),
        on_progress=lambda done, total: steps.detail(f"{done:,} of {total:,}"),
    )
    site.publish_city(where, outputs.site_bucket, cities)
    steps.done(f"spot registry: {len(stalls.spots):,} stalls")


def show_status(
    state_dir: Path,
    target: str,
    stack: str,
    region: str | None,
    console: Console,
    *,
    as_json: bool,
) -> bool:
    """Print each stack's state; True when all are there and none has failed."""
    where = find_target(state_dir, target, stack, region)
    stacks = deploy.status(where)
    healthy = all(
        s.status.endswith("_COMPLETE") and not any(bad in s.status for bad in _BAD) for s in stacks
    )
    if as_json:
        document = {
            "target": str(where),
            "healthy": healthy,
            "stacks": stacks,
            "outputs": deploy.outputs(where) if healthy else None,
        }
        console.print(
            msgspec.json.format(msgspec.json.encode(document)).decode(),
            soft_wrap=True,
            markup=False,
        )
        return healthy
    console.print(f"{where}", soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("stack")
    table.add_column("status")
    table.add_column("reason")
    for s in stacks:
        table.add_row(s.name, s.status, s.reason)
    console.print(table)
    if healthy:
        outputs = deploy.outputs(where)
        console.print(f"map {outputs.site_url}", soft_wrap=True)
        console.print(f"API {outputs.api_url}", soft_wrap=True)
    return healthy
