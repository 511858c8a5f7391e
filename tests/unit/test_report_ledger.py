"""The ledger as the report reads it: by pieces, and the same whatever the pieces are."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleet_sim.report import ledger

T0 = 1_780_000_000_000_000_000
SECOND, MS = 10**9, 10**6


def write(path: Path, group: int = 100) -> None:
    n = 1000
    intended = T0 + np.arange(n) * 10 * MS + 5 * MS
    lost = np.arange(n) % 10 == 3
    refused = np.arange(n) % 10 == 4
    fates = np.where(lost, "lost", np.where(refused, "dropped", "applied"))
    table = pa.table(
        {
            "intended_ns": intended,
            "sent_ns": intended + 2 * MS,
            "acked_ns": intended + 22 * MS,
            "stream_ns": np.where(lost | refused, 0, intended + 80 * MS),
            "fate": pa.array(fates).dictionary_encode(),
        }
    ).replace_schema_metadata({"t0_ns": str(T0)})
    pq.write_table(table, path, row_group_size=group)


def test_counts_by_slot_and_stage(tmp_path: Path) -> None:
    write(tmp_path / "ledger.parquet")
    found = ledger.read_grids(tmp_path / "ledger.parquet")
    assert (found.rows, found.t0_ns, found.slot_s, found.slots) == (1000, T0, 1.0, 10)
    assert found.due.tolist() == [100] * 10
    assert found.sent.tolist() == [100] * 10
    assert {name: int(c.sum()) for name, c in found.fates.items()} == {
        "applied": 800, "lost": 100, "dropped": 100,
    }  # fmt: skip
    counts = {name: int(g.counts.sum()) for name, g in found.stages.items()}
    # A refusal acknowledges nothing; a loss that was acknowledged is one all the same.
    assert counts == {"sent": 1000, "acknowledged": 900, "stream": 800, ledger.SERVICE: 900}


def test_row_groups_and_batches_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "one", group=1000)
    write(tmp_path / "many", group=7)
    whole = ledger.read_grids(tmp_path / "one")
    monkeypatch.setattr(ledger, "BATCH_ROWS", 13)
    pieces = ledger.read_grids(tmp_path / "many")
    for name, found in whole.stages.items():
        assert (found.counts == pieces.stages[name].counts).all()
    for name, counts in whole.fates.items():
        assert (counts == pieces.fates[name]).all()


def test_a_long_run_has_longer_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST_SLOTS", 4)
    write(tmp_path / "ledger.parquet")
    found = ledger.read_grids(tmp_path / "ledger.parquet")
    assert (found.slot_s, found.slots, int(found.due.sum())) == (3.0, 4, 1000)


def test_a_row_at_the_very_end_has_a_slot_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MOST_SLOTS", 4)
    rows = {"intended_ns": [T0, T0 + 8 * SECOND], "sent_ns": [0, 0], "acked_ns": [0, 0]}
    table = pa.table(rows).replace_schema_metadata({"t0_ns": str(T0)})
    pq.write_table(table, tmp_path / "ledger.parquet")
    found = ledger.read_grids(tmp_path / "ledger.parquet")
    assert (found.slot_s, found.due.tolist()) == (3.0, [1, 0, 1])


def test_what_is_no_ledger_is_said(tmp_path: Path) -> None:
    (tmp_path / "ledger.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match="could not be read"):
        ledger.read_grids(tmp_path / "ledger.parquet")
    pq.write_table(pa.table({"seq": [1]}), tmp_path / "ledger.parquet")
    with pytest.raises(ValueError, match="no column intended_ns"):
        ledger.read_grids(tmp_path / "ledger.parquet")
