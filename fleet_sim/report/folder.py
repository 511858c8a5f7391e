"""A finished run folder, read. What an aborted run did not write is a sentence in its place."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fleet_sim.measure import citymap, maphistory
from fleet_sim.measure.stages import STAGES
from fleet_sim.measure.summary import Summary, from_json
from fleet_sim.report.ledger import LedgerGrids, read_grids
from fleet_sim.report.ota_waves import WaveTimes, read_waves

FloatArray = NDArray[np.float64]


class Series(NamedTuple):
    """One name of `timeseries.parquet`, in order of time."""

    t_s: FloatArray
    value: FloatArray


class Percentiles(NamedTuple):
    """One `.hgrm` file: cumulative, ascending."""

    quantile: FloatArray
    """0-1."""
    value_ms: FloatArray


Missing = str
"""A sentence that says what is not there and why."""


@dataclass(frozen=True)
class RunFolder:
    """Everything the report shows."""

    path: Path
    summary: Summary
    scenario: str | None
    """The YAML; None when it is not there."""
    timeline: dict[str, Series] | Missing
    percentiles: dict[str, Percentiles]
    """By stage, in the order in which a message passes them; stages without a message are left
    out."""
    city: citymap.CityMap | Missing
    history: maphistory.MapHistory | Missing
    """The map while the run went on; its spots are `city`'s."""
    grids: LedgerGrids | Missing
    """What the ledger comes to."""
    waves: list[WaveTimes] | Missing
    """Of an update campaign."""


def read(path: Path) -> RunFolder:
    """Read a run folder. `ValueError` when it has no `summary.json`, or one that is not valid."""
    try:
        summary = from_json((path / "summary.json").read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path}: not a run folder (it has no summary.json)") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    scenario = path / "scenario.yaml"
    city = _city(path / "map.json")
    return RunFolder(
        path,
        summary,
        scenario.read_text("utf-8", "replace") if scenario.is_file() else None,
        _timeline(path / "timeseries.parquet"),
        _percentiles(path),
        city,
        _history(path / "map_history.json", city),
        _grids(path / "ledger.parquet"),
        _waves(path / "ota.parquet"),
    )


def _timeline(path: Path) -> dict[str, Series] | Missing:
    if not path.is_file():
        return "This run wrote no timeseries.parquet."
    try:
        table = pq.read_table(path, columns=["t_s", "name", "value"])
    except (pa.ArrowException, OSError) as error:
        return f"timeseries.parquet could not be read: {error}"
    names = table.column("name").combine_chunks().dictionary_encode()
    t_s = table.column("t_s").to_numpy()
    value = table.column("value").to_numpy()
    index = names.indices.to_numpy()
    found = {}
    for code, name in enumerate(names.dictionary.to_pylist()):
        rows = np.flatnonzero(index == code)
        rows = rows[np.argsort(t_s[rows], kind="stable")]
        found[name] = Series(t_s[rows], value[rows])
    return found


def _percentiles(path: Path) -> dict[str, Percentiles]:
    found = {}
    for stage in STAGES:
        file = path / f"latency_{stage}.hgrm"
        if file.is_file():
            read = parse_hgrm(file.read_text("utf-8"))
            if len(read.quantile):
                found[stage] = read
    return found


def parse_hgrm(text: str) -> Percentiles:
    """Rows of HdrHistogram's percentile table; its header and its comments are passed over."""
    rows = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) in (3, 4) and fields[0][0].isdigit():
            rows.append((float(fields[1]), float(fields[0])))
    table = np.array(rows, np.float64).reshape(-1, 2)
    return Percentiles(table[:, 0], table[:, 1])


def _city(path: Path) -> citymap.CityMap | Missing:
    if not path.is_file():
        return "This run wrote no map.json."
    try:
        return citymap.from_json(path.read_bytes())
    except ValueError as error:
        return f"The map could not be read: {error}"


def _history(path: Path, city: citymap.CityMap | Missing) -> maphistory.MapHistory | Missing:
    if not path.is_file():
        return "The map was recorded at the end of the run only."
    if isinstance(city, str):
        return city
    try:
        return maphistory.from_json(path.read_bytes(), len(city.spots))
    except ValueError as error:
        return f"The map during the run could not be read: {error}"


def _grids(path: Path) -> LedgerGrids | Missing:
    if not path.is_file():
        return "This run wrote no ledger.parquet."
    try:
        return read_grids(path)
    except ValueError as error:
        return f"{error}."


def _waves(path: Path) -> list[WaveTimes] | Missing:
    if not path.is_file():
        return "This run wrote no ota.parquet."
    try:
        return read_waves(path)
    except ValueError as error:
        return f"{error}."
