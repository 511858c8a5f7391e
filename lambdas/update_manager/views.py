"""What the API shows of a campaign: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fleet_sim.contract.campaign_records import CampaignSummary, CampaignView, Target, WaveCounts
from fleet_sim.contract.campaigns import Candidate
from update_manager import logic, records
from update_manager.logic import Campaign


def success_rate(counts: Sequence[WaveCounts]) -> float | None:
    """Succeeded and not broken since, over completed; None while none has completed."""
    completed = sum(wave.completed for wave in counts)
    return 1.0 - sum(wave.bad for wave in counts) / completed if completed else None


def in_progress(counts: Sequence[WaveCounts]) -> int:
    """Vehicles with a job that has not ended."""
    return sum(wave.statuses.get(status, 0) for wave in counts for status in records.OPEN_JOB)


def view(campaign: Campaign, targets: Sequence[Target]) -> CampaignView:
    """`targets`: of the waves up to the current one."""
    counts = logic.count(campaign.sizes, targets)
    return CampaignView(
        id=campaign.id,
        state=campaign.state,
        reason=campaign.reason,
        wave=campaign.wave,
        version=campaign.request.firmware.version,
        template=campaign.request.template,
        plan=campaign.plan,
        created_by=campaign.created_by,
        created_ms=campaign.created_ms,
        changed_ms=int(campaign.since_s * 1e3) or campaign.created_ms,
        eligible=campaign.eligible,
        ineligible=campaign.ineligible,
        retries=logic.retries(targets),
        waves=counts,
        in_progress=in_progress(counts),
        success_rate=success_rate(counts),
        reasons=_tally(
            t.reason or "not said"
            for t in targets
            if t.status in ("failed", "rejected", "retrying") or t.faulty
        ),
        deferred=_tally(
            t.reason.removeprefix(f"{records.DEFERRED}: ")
            for t in targets
            if t.status == "in_progress" and t.reason.startswith(records.DEFERRED)
        ),
    )


def _tally(words: Iterable[str]) -> dict[str, int]:
    """The most frequent first."""
    return dict(Counter(words).most_common())


def summary(campaign: Campaign) -> CampaignSummary:
    return CampaignSummary(
        campaign.id,
        campaign.state,
        campaign.request.firmware.version,
        campaign.wave,
        campaign.created_by,
        campaign.created_ms,
    )


def updated(campaign: Campaign, targets: Sequence[Target]) -> list[Candidate]:
    """The vehicles that a rollback is for: those that run the campaign's version."""
    version = campaign.request.firmware.version
    return [
        Candidate(thing=t.thing, model=t.model, region=t.region, version=version)
        for t in targets
        if t.status == "succeeded"
    ]
