"""The run folder: what a run leaves behind. A crash loses nothing that was written before."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

import msgspec

from fleet_sim.engine.preflight import PreflightError
from fleet_sim.scenario import Scenario, dump

LATEST = "latest"


def prepare_folder(path: Path) -> None:
    """Make `path` an empty folder. `PreflightError` when it holds something already or cannot be
    made: nothing that was recorded is ever written over."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise PreflightError(f"--out: {path} is not empty (allowed: a new or empty folder)")
    except OSError as error:
        raise PreflightError(f"--out: {path}: {error.strerror}") from error


class RunFolder:
    """`reports/RUN/`, made with the scenario and an open log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = (path / "log.jsonl").open("ab", buffering=0)

    @classmethod
    def create(cls, path: Path, scenario: Scenario) -> "RunFolder":
        """`PreflightError` when the folder holds something already or cannot be written."""
        prepare_folder(path)
        (path / "scenario.yaml").write_text(dump(scenario))
        return cls(path)

    def log(self, event: str, **fields: Any) -> None:
        """Append one event, as a JSON line with the time."""
        line = {"time": dt.datetime.now(dt.UTC).isoformat(), "event": event, **fields}
        self._log.write(msgspec.json.encode(line) + b"\n")

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file of the folder, whole or not at all."""
        part = self.path / f".{name}.part"
        part.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(part, self.path / name)

    def finish(self) -> None:
        """Close the log and point `latest`, beside the folder, at it."""
        self._log.close()
        link = self.path.parent / LATEST
        if link.exists() and not link.is_symlink():
            return  # somebody's own folder of that name
        part = self.path.parent / f".{LATEST}.part"
        part.unlink(missing_ok=True)
        part.symlink_to(self.path.name, target_is_directory=True)
        os.replace(part, link)
