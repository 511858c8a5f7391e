from pathlib import Path

import numpy as np
import pytest

from fleet_sim.measure.ledger import DropCause, Ledger

T = 1_780_000_000_000_000_000


def test_rows_survive_growth() -> None:
    ledger = Ledger(1)
    for i in range(1000):
        row = ledger.open(i % 7, i, T + i)
        assert row == i
        ledger.sent(row, T + 1000 + i)
        if i % 3:
            ledger.acked(row, T + 2000 + i, i % 2 * 16)
        else:
            ledger.dropped(row, DropCause.SHUTDOWN)
    columns = ledger.columns()
    i = np.arange(1000)
    assert len(ledger) == 1000
    assert (columns.vehicle == i % 7).all()
    assert (columns.seq == i).all()
    assert (columns.intended_ns == T + i).all()
    assert (columns.sent_ns == T + 1000 + i).all()
    assert (columns.acked_ns == np.where(i % 3, T + 2000 + i, 0)).all()
    assert (columns.reason == np.where(i % 3, i % 2 * 16, 0)).all()
    assert (columns.cause == np.where(i % 3, DropCause.NONE, DropCause.SHUTDOWN)).all()
    assert (columns.acknowledged == (i % 3 != 0)).all()


def test_many_rows_opened_at_once_are_those_opened_one_by_one() -> None:
    one, many = Ledger(1), Ledger(1)
    vehicle, seq, intended_ns = np.arange(9) % 4, np.arange(9) // 4 + 1, T + np.arange(9) * 7
    for begin, end in ((0, 0), (0, 2), (2, 3), (3, 9)):
        first = many.open_many(vehicle[begin:end], seq[begin:end], intended_ns[begin:end])
        assert first == begin
        many.sent(max(0, end - 1), T)
    for i in range(9):
        one.open(int(vehicle[i]), int(seq[i]), int(intended_ns[i]))
    assert len(many) == len(one) == 9
    for name in ("vehicle", "seq", "intended_ns"):
        assert many.column(name).tolist() == one.column(name).tolist()


def test_columns_are_views() -> None:
    ledger = Ledger(4)
    ledger.open(1, 1, T)
    sent = ledger.column("sent_ns")
    ledger.sent(0, T + 5)
    assert sent.tolist() == [T + 5]
    assert ledger.nbytes == 4 * 35


def test_a_resend_keeps_the_first_time_and_is_counted() -> None:
    ledger = Ledger(1)
    row = ledger.open(1, 1, T)
    for i in range(300):
        ledger.sent(row, T + i + 1)
    assert ledger.column("sent_ns").tolist() == [T + 1]
    assert ledger.column("resent").tolist() == [255]


def test_a_rejection_is_a_drop_until_the_message_is_resent() -> None:
    ledger = Ledger(1)
    row = ledger.open(1, 1, T)
    ledger.sent(row, T + 1)
    ledger.acked(row, T + 2, 0x97)
    assert ledger.column("cause").tolist() == [DropCause.REJECTED]
    assert ledger.columns().acknowledged.tolist() == [False]
    ledger.sent(row, T + 3)
    assert ledger.column("acked_ns").tolist() == [0]
    ledger.acked(row, T + 4, 0)
    assert ledger.column("cause").tolist() == [DropCause.NONE]
    assert ledger.columns().acknowledged.tolist() == [True]


def test_refuses_a_capacity_of_none() -> None:
    with pytest.raises(ValueError, match="capacity 0 is not allowed"):
        Ledger(0)


def test_what_a_process_wrote_outlives_it(tmp_path: Path) -> None:
    def write() -> None:
        ledger = Ledger(4, tmp_path)
        for i in range(11):  # grows twice
            row = ledger.open(i, i + 1, T + i)
            ledger.sent(row, T + 100 + i)
            if i % 2:
                ledger.acked(row, T + 200 + i, 0)

    write()  # and nobody closes it
    columns = Ledger.recover(tmp_path)
    i = np.arange(11)
    assert (columns.vehicle == i).all()
    assert (columns.seq == i + 1).all()
    assert (columns.sent_ns == T + 100 + i).all()
    assert (columns.acked_ns == np.where(i % 2, T + 200 + i, 0)).all()


def test_a_process_that_died_before_its_first_message_left_an_empty_ledger(tmp_path: Path) -> None:
    Ledger(4, tmp_path)
    assert len(Ledger.recover(tmp_path).seq) == 0


def test_a_full_ledger_is_recovered_whole(tmp_path: Path) -> None:
    ledger = Ledger(3, tmp_path)
    for i in range(3):
        ledger.open(i, 1, T)
    assert len(Ledger.recover(tmp_path).seq) == 3
