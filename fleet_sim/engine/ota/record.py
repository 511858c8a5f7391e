"""What a run's campaign leaves in the run folder: `ota.parquet`, and curves for the report."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.leavings import Driven
from fleet_sim.measure.ota_judge import Campaigned, growth

_TRUTH = (
    "had", "runs", "boots", "started_s", "installed_s", "bad_boot_s", "broken_s", "downloaded",
    "wasted", "resumed", "power_losses", "requests", "violations",
)  # fmt: skip
_RECORD = ("wave", "status", "attempt", "reason", "faulty")


def write_campaign(seen: Campaigned, vins: Sequence[str], folder: RunFolder) -> None:
    """`ota.parquet`: one row a vehicle, with truth, record (`record_…`) and its states. `writes`:
    most often that one release was written whole; `commits`: of all releases."""
    targets = {seen.vehicle_of(target.thing): target for target in seen.record.targets}
    rows = [targets.get(truth.vehicle) for truth in seen.truths]
    columns = {"vin": pa.array([vins[truth.vehicle] for truth in seen.truths])}
    columns |= {name: pa.array([getattr(t, name) for t in seen.truths]) for name in _TRUTH}
    columns["writes"] = pa.array([max(t.writes.values(), default=0) for t in seen.truths])
    columns["commits"] = pa.array([sum(t.commits.values()) for t in seen.truths])
    columns |= {
        f"record_{name}": pa.array([None if r is None else getattr(r, name) for r in rows])
        for name in _RECORD
    }
    kind = pa.list_(pa.struct([("t_s", pa.float64()), ("state", pa.string())]))
    columns["states"] = pa.array(
        [[{"t_s": at, "state": state} for at, state in t.states] for t in seen.truths], kind
    )
    pq.write_table(pa.table(columns), folder.path / "ota.parquet", compression="zstd")


def campaign_growth(seen: Campaigned | None, driven: Driven) -> dict[str, list[float]]:
    """`campaign{kind:…}` at each sample: vehicles that had begun, run the image, had failed."""
    if seen is None:
        return {}
    at = [sample.t_s * seen.speed for sample in driven.samples]
    grown = growth(seen.truths, at)
    return {f"campaign{{kind:{name}}}": [float(n) for n in v] for name, v in grown.items()}
