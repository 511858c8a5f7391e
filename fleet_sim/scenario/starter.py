"""The commented scenario that `fleet-sim init` writes."""

from pathlib import Path

from fleet_sim.resources import data_dir
from fleet_sim.scenario.problems import Problem, ScenarioError

STARTER_NAME = "starter.yaml"


def starter_text() -> str:
    """A scenario with each field explained; it is valid as it stands."""
    return (data_dir("scenarios") / STARTER_NAME).read_text("utf-8")


def write_starter(path: Path) -> None:
    """Write it to a new file. `ScenarioError` when there is one, or it cannot be written."""
    text = starter_text()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        message = "exists, and is not overwritten (allowed: the name of a new file)"
        raise ScenarioError([Problem(str(path), None, None, "", message)]) from None
    except OSError as error:
        message = f"cannot be written: {error.strerror} (allowed: a new file in a folder)"
        raise ScenarioError([Problem(str(path), None, None, "", message)]) from error
