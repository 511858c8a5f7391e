"""Updates in a shard: its radios and downloads, without a network and on a clock that jumps."""

import mqtt5
import pytest
from ota_shard import Joined

from fleet_sim.contract.jobs import jobs_topic
from fleet_sim.measure.ota import REASONS

TEXT = """
name: live
seed: 5
clock: {speed: 60}
city: {generate: {blocks: [3, 3]}}
fleet:
  - {group: cars, count: 6, telemetry: {period: 60s}}
  - {group: vans, count: 2, vehicle: leaf_30, telemetry: {period: 60s}}
phases: [{name: only, duration: 12m}]
campaign:
  firmware: {size: 20MB, sent: 40kB, install: 2m}
  preconditions: {min_soc: 0%}
"""
PARKED_OR_NOT = "campaign.preconditions.parked=false"


async def test_an_image_reaches_every_vehicle_over_the_shards_own_connections() -> None:
    joined = Joined(TEXT, PARKED_OR_NOT)
    await joined.run()
    assert set(joined.statuses()) == {"SUCCEEDED"}
    updates = joined.shard.updates
    assert updates is not None
    assert updates.active == 0  # no machine without a job
    for truth in updates.truths.values():
        assert truth.slots.running is not None
        assert truth.slots.running.version == "1.1.0"
        assert list(truth.slots.commits.values()) == list(truth.slots.writes.values()) == [1]
        assert 20e6 <= truth.downloaded <= 20.1e6  # each byte that was sent stands for 500
        names = [state for _, state in truth.states]
        assert names[-1] == "idle"
        took_s = {name: at for at, name in truth.states}
        assert 119 <= took_s["rebooting"] - took_s["installing"] <= 126
    # Telemetry waited while they rebooted, and none of it is lost.
    assert len(joined.shard.ledger) == joined.shard.scheduled_total
    assert joined.shard.ledger.columns().acknowledged.all()


@pytest.mark.parametrize("attack", sorted(REASONS))
async def test_each_attack_on_real_bytes_is_rejected_for_its_reason(attack: str) -> None:
    joined = Joined(TEXT, PARKED_OR_NOT, f"campaign.firmware.attack={attack}")
    await joined.run()
    assert set(joined.statuses()) == {"REJECTED"}
    told = {joined.service.details(v, joined.job_id)["reason"] for v in joined.shard.vins}
    assert tuple(told) == REASONS[attack]
    assert joined.shard.updates is not None
    for truth in joined.shard.updates.truths.values():
        assert not truth.slots.writes
        assert truth.downloaded <= 21e6


async def test_a_download_goes_on_after_breaks_dead_urls_and_outages() -> None:
    text = TEXT.replace("count: 6,", "count: 6, radio: rural,").replace("size: 20MB", "size: 100MB")
    text = text.replace("duration: 12m", "duration: 35m")
    joined = Joined(text, PARKED_OR_NOT, fails_each=5, url_life_s=0.4)
    await joined.run()
    assert set(joined.statuses()) == {"SUCCEEDED"}
    assert joined.server.refused > 0
    assert joined.shard.updates is not None
    truths = joined.shard.updates.truths.values()
    assert sum(truth.resumed for truth in truths) > 50e6
    for truth in truths:
        assert 100e6 <= truth.downloaded <= 101e6  # nothing came twice
        assert max(truth.slots.writes.values()) == 1


async def test_power_comes_back_to_an_image_that_boots_and_tells() -> None:
    joined = Joined(TEXT, PARKED_OR_NOT, "campaign.firmware.defect.boot_failure=100%")
    await joined.run()
    assert set(joined.statuses()) == {"FAILED"}
    assert joined.shard.updates is not None
    for truth in joined.shard.updates.truths.values():
        assert truth.bad_boot_s is not None
        assert truth.slots.running is truth.slots.committed
        assert truth.slots.committed.version == "1.0.0"


async def test_the_preconditions_come_from_the_world() -> None:
    """Vehicles drive and park in the city; an image is written into a parked one only."""
    joined = Joined(TEXT.replace("duration: 12m", "duration: 25m"))
    shard = joined.shard
    writing: list[str] = []
    modes = shard.world.observe

    def watched() -> None:
        assert shard.updates is not None
        for i, update in shard.updates._active.items():
            if update.agent.state.value == "installing" and i not in begun:
                begun.add(i)
                seen = modes(shard.share.members[i : i + 1])
                writing.append("driving" if seen.mode[0] == 0 else "parked")

    begun: set[int] = set()
    assert shard.updates is not None
    pump = shard.updates.pump

    def pumped() -> None:
        pump()
        watched()

    shard.updates.pump = pumped  # type: ignore[method-assign]
    await joined.run()
    # One that has driven off meanwhile waits for its reboot at the end of the run.
    waiting = [u.agent.state.value for u in shard.updates._active.values()].count("armed")
    assert len(writing) == len([s for s in joined.statuses() if s == "SUCCEEDED"]) + waiting
    assert writing.count("parked") == len(writing) > 1


async def test_a_lost_status_is_told_again() -> None:
    lost: set[str] = set()

    def lose(answer) -> bool:  # type: ignore[no-untyped-def]
        first = answer.thing not in lost and b"SUCCEEDED" in answer.payload
        lost.update([answer.thing] if first else [])
        return first

    # Asked again after 20 s of wall time, which is 20 minutes here.
    text = TEXT.replace("duration: 12m", "duration: 30m")
    joined = Joined(text, PARKED_OR_NOT, lose=lose)
    await joined.run()
    assert len(lost) == 8
    assert set(joined.statuses()) == {"SUCCEEDED"}
    assert joined.shard.updates is not None
    assert joined.shard.updates.active == 0


async def test_a_notice_that_comes_while_the_run_says_goodbye_is_not_answered() -> None:
    joined = Joined(TEXT, PARKED_OR_NOT)
    await joined.run()
    shard = joined.shard
    assert shard.updates is not None
    said = shard.updates.messages
    topic = jobs_topic(shard.vins[0], "notify-next")
    shard.on_message(0, mqtt5.PublishPacket(topic, b'{"timestamp": 1}'))
    assert shard.updates.messages == said
    assert shard.updates.active == 0
