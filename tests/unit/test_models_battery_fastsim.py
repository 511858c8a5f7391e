"""FASTSim, NREL's simulator, run beside ours in this process."""

import sys

import pytest

from fleet_sim.validation import _fastsim, battery

live = pytest.mark.skipif(not _fastsim.available(), reason=_fastsim.MISSING)


@live
def test_cycles_take_what_fastsim_says() -> None:
    outcome = battery.against_fastsim(1.0)
    assert outcome.passed, outcome.measured


@live
def test_epa_s_road_loads_give_epa_s_consumption() -> None:
    outcome = battery.against_epa(1.0)
    assert outcome.passed, outcome.measured


@live
def test_cold_costs_what_is_known() -> None:
    outcome = battery.cold(1.0)
    assert outcome.passed, outcome.measured


@live
def test_the_oracle_answers_to_its_parameters() -> None:
    """A FASTSim that ignored what we set would agree with nothing, or with everything."""
    leaf = _fastsim.CARS[1]
    heavy = leaf._replace(name="heavy", mass_kg=2000.0)
    blunt = leaf._replace(name="blunt", cd=0.4)
    base = _fastsim.drive(leaf, "udds").wh_per_mi
    assert _fastsim.drive(heavy, "udds").wh_per_mi > 1.08 * base
    assert _fastsim.drive(blunt, "hwfet").wh_per_mi > _fastsim.drive(leaf, "hwfet").wh_per_mi * 1.1
    # The figures of FASTSim 2.1.5 for UDDS and HWFET, which took other care of regeneration.
    assert base == pytest.approx(157.3, rel=0.03)


def test_without_fastsim_a_check_fails_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastsim", None)
    assert not _fastsim.available()
    for check in (battery.against_fastsim, battery.against_epa, battery.cold):
        outcome = check(1.0)
        assert not outcome.passed
        assert "fleet-sim[validate]" in outcome.note
    steady = battery.constant_speed(1.0)
    assert steady.passed
    assert "Only the recorded figures" in steady.note
