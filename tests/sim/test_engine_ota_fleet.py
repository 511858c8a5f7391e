"""A campaign over a fleet without a cloud: what the service has on record is the truth."""

import msgspec
import pytest

from fleet_sim.engine.ota.fleet import Rehearsal, rehearse
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.measure.ota import REASONS, OtaReport
from fleet_sim.scenario import loads
from fleet_sim.vehicle.ota import UpdateAgent
from fleet_sim.world.firmware import firmware_of

TEXT = """
name: update
seed: 3
fleet: [{group: a, count: 60}]
phases: [{name: p, duration: 1s}]
campaign:
  firmware: {version: 1.1.0, size: 50MB}
  waves: {shares: [100%], soak: 0s}
  gate: {max_failed: 100%}
"""


def outcome(*overrides: str) -> OtaReport:
    return rehearse(loads(TEXT, overrides=list(overrides)))


def test_a_good_image_reaches_every_vehicle_once() -> None:
    found = outcome()
    assert found.statuses == {"succeeded": 60}
    assert found.runs_new == found.eligible == found.started == 60
    assert found.sound
    assert found.done_99_s is not None
    assert 50e6 * 60 <= found.downloaded_gb * 1e9 <= 50.1e6 * 60


@pytest.mark.parametrize("attack", sorted(REASONS))
def test_each_attack_is_rejected_for_its_reason_and_installed_nowhere(attack: str) -> None:
    found = outcome(f"campaign.firmware.attack={attack}")
    assert found.statuses == {"rejected": 60}
    assert tuple(found.reasons) == REASONS[attack]
    assert found.attack_installed == found.runs_new == 0


def test_a_bad_image_leaves_the_old_one_and_is_reported_as_it_is() -> None:
    rehearsal = Rehearsal(
        loads(
            TEXT,
            overrides=[
                "campaign.firmware.defect.boot_failure=30%",
                "campaign.firmware.defect.self_test_failure=20%",
                "campaign.firmware.defect.delayed_failure=20%",
            ],
        )
    )
    found = rehearsal.run()
    assert found.sound
    assert set(found.reasons) == {"boot", "self-test"}
    assert found.statuses["failed"] == sum(found.reasons.values()) == 60 - found.runs_new
    assert 5 <= found.reasons["boot"] <= 31
    assert found.broken_later > 0
    for truth in rehearsal.truths:
        assert truth.slots.boot().firmware.defect in ("none", "delayed")


def test_a_large_image_goes_on_after_breaks_and_dead_urls() -> None:
    found = outcome("campaign.firmware.size=3GB", "campaign.firmware.url_life=1m")
    assert found.statuses == {"succeeded": 60}
    assert found.sound
    assert found.resumed_gb > 3.0
    assert found.downloaded_gb == pytest.approx(180.0, rel=0.001)


def test_nothing_is_installed_outside_the_window_or_below_the_charge() -> None:
    """17:00 at first; vehicles hold 10-30 %, and most are charged from 22:00 on."""
    text = TEXT.replace("count: 60", "count: 60, soc: [10%, 30%]")
    rehearsal = Rehearsal(
        loads(text, overrides=['campaign.preconditions.window=["23:00", "05:00"]'])
    )
    found = rehearsal.run()
    assert found.statuses == {"succeeded": 60}
    for i, truth in enumerate(rehearsal.truths):
        (begun,) = [t_s for t_s, state in truth.states if state == "installing"]
        assert 6 * 3600 <= begun % 86_400 <= 12 * 3600
        conditions = rehearsal.around.conditions(i, begun)
        assert conditions.soc >= 0.4
        assert conditions.parked


def test_nobody_is_rebooted_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot takes 90 minutes here, and a trip half an hour: many drive when it is written."""
    scenario = loads(TEXT, overrides=["campaign.firmware.install=90m"])
    found = rehearse(scenario)
    assert (found.violations, found.statuses) == (0, {"succeeded": 60})
    monkeypatch.setattr(
        UpdateAgent, "_consider_reboot",
        lambda agent, now, inner=UpdateAgent._consider_reboot: inner(
            agent, now._replace(parked=True)
        ),
    )  # fmt: skip
    assert rehearse(scenario).violations > 0


def test_power_lost_at_any_moment_bricks_nobody_and_each_job_ends() -> None:
    rehearsal = Rehearsal(loads(TEXT))
    for k in range(400):
        thing = k % 60

        def cut(i: int = thing) -> None:
            if i in rehearsal._active:
                rehearsal._active[i].lose_power()

        rehearsal._later(5.0 * k + 1.0, cut)
    found = rehearsal.run()
    assert sum(truth.power_losses for truth in rehearsal.truths) > 60
    assert found.sound, found
    assert sum(found.statuses.values()) == 60
    assert set(found.reasons) <= {"boot"}


def test_a_gate_that_stops_at_the_first_failures_bounds_the_blast() -> None:
    found = outcome(
        "campaign.firmware.defect.boot_failure=100%",
        "campaign.waves.shares=[5%, 100%]",
        "campaign.gate.max_failed=5%",
    )
    assert (found.state, found.runs_new) == ("aborted", 0)
    assert found.statuses == {"failed": 3, "waiting": 57}
    assert found.exposed == {"notified": 3, "started": 3, "installed": 0, "failed": 3}
    assert next((wave.size, wave.completed, wave.bad) for wave in found.waves) == (3, 3, 3)
    assert found.last_start_s == 0.0
    assert found.sound


def test_vehicles_that_run_it_already_install_nothing() -> None:
    text = TEXT.replace("count: 60", "count: 60, firmware: {1.1.0: 25%, 0.9.0: 75%}")
    scenario = loads(text)
    versions = firmware_of(scenario)
    assert (versions.count("1.1.0"), versions.count("0.9.0")) == (15, 45)
    assert versions[:15] != ["1.1.0"] * 15
    rehearsal = Rehearsal(scenario)
    found = rehearsal.run()
    assert (found.eligible, found.runs_new, found.statuses) == (45, 60, {"succeeded": 45})
    assert sum(bool(truth.slots.writes) for truth in rehearsal.truths) == 45


def test_an_outage_delays_those_it_strikes_and_the_outcome_is_json() -> None:
    """Times in NumPy's own float are no JSON: `fleet-sim rehearse --json` once failed."""
    driven = "campaign.preconditions.parked=false"  # or some would wait for the end of a trip
    calm = outcome(driven)
    text = (
        TEXT.replace("duration: 1s", "duration: 3h")
        + "faults: [{at: 10s, for: 30m, radio: {state: down, district: north}}]\n"
    )
    rehearsal = Rehearsal(loads(text, overrides=["campaign.retry.budget=100%", driven]))
    found = rehearsal.run()
    assert found.statuses == {"succeeded": 60}
    assert found.sound
    (_, end_s, struck) = rehearsal.around.outages[0]
    assert 0 < struck.sum() < 60
    late = {i for i, t in enumerate(rehearsal.truths) if (t.installed_s or 0.0) > end_s}
    assert late <= set(struck.nonzero()[0].tolist())
    assert found.done_99_s is not None
    assert calm.done_99_s is not None
    assert found.done_99_s > max(end_s, calm.done_99_s)
    times = [moment for t in rehearsal.truths for moment, _ in t.states]
    assert {type(moment) for moment in times} == {float}


def test_the_same_seed_gives_the_same_outcome_and_no_campaign_is_an_error() -> None:
    assert msgspec.json.encode(outcome()) == msgspec.json.encode(outcome())
    with pytest.raises(PreflightError, match="update: campaign is missing"):
        outcome("campaign=null")
