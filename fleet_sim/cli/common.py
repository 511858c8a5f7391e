"""What the commands share: options, and how errors become exit codes."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import click

from fleet_sim.engine.verdict import ExitCode

P = ParamSpec("P")
R = TypeVar("R")

STATE_DIR = Path(".fleet-sim")
"""Where `up` keeps the local AWS, and `run` its vehicles' identities."""


def fail(code: ExitCode, message: str) -> NoReturn:
    """Say on stderr what is wrong, one line a problem, and exit."""
    for line in message.splitlines():
        click.echo(f"error: {line}", err=True)
    sys.exit(code)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user can mend into a line and an exit code. Others are bugs, and
    keep their traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        # Imported here: `--help` should not wait for NumPy and boto3.
        from fleet_sim.cloud.identities import IdentityError
        from fleet_sim.cloud.local import LocalAwsError
        from fleet_sim.cloud.package import PackageError
        from fleet_sim.cloud.registry import RegistryError
        from fleet_sim.cloud.stacks import DeployError
        from fleet_sim.cloud.target import TargetError
        from fleet_sim.engine.bench.engine.contest import ContestError
        from fleet_sim.engine.embedded import EmbeddedBrokerError
        from fleet_sim.engine.preflight import PreflightError
        from fleet_sim.scenario import ScenarioError
        from fleet_sim.transport import ConnectError, TransportError

        try:
            return command(*args, **kwargs)
        except (ScenarioError, PreflightError, TransportError) as error:
            fail(ExitCode.INVALID, str(error))
        except (
            TargetError,
            DeployError,
            PackageError,
            LocalAwsError,
            IdentityError,
            RegistryError,
            EmbeddedBrokerError,
            ContestError,
            ConnectError,
        ) as error:
            fail(ExitCode.TARGET, str(error))
        except KeyboardInterrupt:
            fail(ExitCode.INTERRUPTED, "interrupted")

    return wrapped


class Examples(click.Command):
    """A command whose help ends with examples, kept line by line."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


stack_option = click.option("--stack", default="fleet-sim", show_default=True, help="Stack prefix.")
region_option = click.option("--region", help="AWS region; default: the AWS configuration's.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a field, such as fleet.taxis.count=100. May be repeated.",
)
scenario_argument = click.argument("scenario", type=click.Path(path_type=Path))
target_option = click.option(
    "--target",
    type=click.Choice(["local", "aws"]),
    default="local",
    show_default=True,
    help="Where to.",
)
