"""VINs must be what the contract and the check digit ask for."""

import re

import pytest

from fleet_sim.world.vin import MAX_GROUPS, check_digit, vin


@pytest.mark.parametrize("known", ["11111111111111111", "1M8GDM9AXKP042788", "5GZCZ43D13S812715"])
def test_check_digit_of_known_vins(known: str) -> None:
    assert check_digit(known) == known[8]


def test_vins_are_valid_and_unique() -> None:
    made = [vin(g, i) for g in (0, 1, 33, MAX_GROUPS - 1) for i in (*range(300), 999_999)]
    assert len(set(made)) == len(made)
    for one in made:
        assert re.fullmatch(r"[A-HJ-NPR-Z0-9]{17}", one)
        assert check_digit(one) == one[8]


def test_a_vin_does_not_change() -> None:
    assert vin(1, 12) == vin(1, 12)
    assert vin(1, 12)[-6:] == "000012"


@pytest.mark.parametrize(("group", "i"), [(-1, 0), (0, 1_000_000), (MAX_GROUPS, 0)])
def test_what_has_no_vin_is_refused(group: int, i: int) -> None:
    with pytest.raises(ValueError, match=r"vin: group .* \(allowed: "):
        vin(group, i)
