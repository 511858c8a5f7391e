"""What a PartiQL statement must be allowed."""

import pytest

from fleet_sim.cloud.local.gaps.iam_actions import statement_check


@pytest.mark.parametrize(
    ("statement", "action", "table"),
    [
        ("INSERT INTO \"T-1\" VALUE {'k': ?}", "PartiQLInsert", "T-1"),
        ('UPDATE "T" SET "a" = ? WHERE "k" = ? AND "from" = ?', "PartiQLUpdate", "T"),
        ("update T set a = 'from x' where k = 1", "PartiQLUpdate", "T"),
        ('DELETE FROM "T" WHERE k = ?', "PartiQLDelete", "T"),
        ("SELECT a, b\nFROM \"T\" WHERE k = 'x'", "PartiQLSelect", "T"),
        ('SELECT * FROM "T"."by-cell" WHERE c = ?', "PartiQLSelect", "T/index/by-cell"),
    ],
)
def test_a_statement(statement: str, action: str, table: str) -> None:
    expected = (f"dynamodb:{action}", f"arn:aws:dynamodb:r:1:table/{table}")
    assert statement_check(statement, "r", "1") == expected


def test_what_is_no_statement() -> None:
    assert statement_check("DROP TABLE x", "r", "1") is None
    assert statement_check("", "r", "1") is None
