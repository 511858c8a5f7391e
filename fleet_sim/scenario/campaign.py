"""An update campaign in a scenario: what is brought, and what it needs of a vehicle."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from fleet_sim.scenario.problems import Path
from fleet_sim.scenario.strict import Strict
from fleet_sim.scenario.units import ByteSize, Duration, Fraction

FACTORY_VERSION = "1.0.0"
"""What a group's vehicles run when it names nothing."""

Version = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}$",
        extra={"allowed": "three numbers such as 1.1.0"},
    ),
]
TimeOfDay = Annotated[
    str,
    Meta(
        pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$",
        extra={"allowed": 'a time of day in quotes, such as "22:00"'},
    ),
]
UrlLife = Annotated[Duration, Meta(extra={"min": Duration(60), "max": Duration(3600)})]
Attack = Literal[
    "none",
    "flipped_byte",
    "wrong_key",
    "wrong_length",
    "endless_data",
    "replay",
    "freeze",
    "mix_and_match",
    "rollback",
]


class Defect(Strict, frozen=True, kw_only=True):
    """What is wrong with the new image, as shares of the vehicles that install it."""

    boot_failure: Fraction = Fraction(0.0)
    """Share on which it does not boot."""
    self_test_failure: Fraction = Fraction(0.0)
    """Share on which it boots, and its self-test fails."""
    delayed_failure: Fraction = Fraction(0.0)
    """Share that breaks some time after a successful installation."""
    delay_s: Duration = field(name="delay", default=Duration(3_600))
    """When those break, after the installation."""


class FirmwareImage(Strict, frozen=True, kw_only=True):
    """The image that the campaign brings."""

    version: Version = "1.1.0"
    """Its version."""
    size: ByteSize = ByteSize(50_000_000)
    """What is downloaded; 1kB at least."""
    sent: ByteSize = ByteSize(64_000)
    """What a live run really sends of a larger image; each byte then stands for size / sent."""
    install_s: Duration = field(name="install", default=Duration(600))
    """Time to write it into the spare slot."""
    url_life_s: UrlLife = field(name="url_life", default=Duration(900))
    """A download URL ends after so long; the vehicle asks for a new one."""
    defect: Defect = field(default_factory=Defect)
    """What is wrong with it."""
    attack: Attack = "none"
    """What an attacker does to the image or its signed metadata."""


class Mishaps(Strict, frozen=True, kw_only=True):
    """What happens to vehicles while they update."""

    power_loss: Fraction = Fraction(0.0)
    """Share that loses power once while the image is written."""
    lost_status: Fraction = Fraction(0.0)
    """Share whose outcome is lost on its way, once, as they lose power right after sending it."""


class CampaignConditions(Strict, frozen=True, kw_only=True):
    """What must hold before a vehicle installs; until then it waits."""

    parked: bool = True
    """Whether it has to be parked."""
    min_soc: Fraction = Fraction(0.4)
    """Least state of charge."""
    window: tuple[TimeOfDay, TimeOfDay] | None = None
    """Local time of day from and to which it may install; it may pass midnight. Unset: always."""


class CampaignWaves(Strict, frozen=True, kw_only=True):
    """In which portions vehicles are started."""

    shares: Annotated[tuple[Fraction, ...], Meta(min_length=1, max_length=20)] = (
        Fraction(0.01),
        Fraction(0.05),
        Fraction(0.25),
        Fraction(1.0),
    )
    """Of the eligible vehicles, cumulated, rising to 100%."""
    per_minute: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    """Starts a minute at most; unset: a wave starts at once."""
    soak_s: Duration = field(name="soak", default=Duration(3_600))
    """After a wave's last vehicle has ended, its gate stays open to late faults for so long."""


class CampaignGate(Strict, frozen=True, kw_only=True):
    """When the campaign is stopped: failures over those that have completed in the wave."""

    max_failed: Fraction = Fraction(0.05)
    """The gate fails above this share."""
    min_executed: Annotated[int, Meta(ge=1)] = 5
    """A running wave is judged once so many have completed."""
    min_answered: Fraction = Fraction(0.5)
    """A wave that ends with a smaller share completed pauses the campaign."""
    on_failure: Literal["abort", "pause"] = "abort"
    """What a failed gate does."""
    in_progress: Literal["finish", "cancel"] = "finish"
    """What an abort does to vehicles that have begun."""


class CampaignRetry(Strict, frozen=True, kw_only=True):
    """What is tried again before it counts as a failure."""

    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    """Tries of a vehicle, the first included."""
    backoff_s: Duration = field(name="backoff", default=Duration(600))
    """Before the second try; doubled before each further one."""
    budget: Fraction = Fraction(0.25)
    """Retries of all vehicles together, as a share of the eligible ones."""
    silent_s: Duration = field(name="silent", default=Duration(7_200))
    """A vehicle in progress that says nothing for so long has failed this try."""
    unreached_s: Duration = field(name="unreached", default=Duration(86_400))
    """One that never asks for its job is given up after so long, and is no failure."""


class Campaign(Strict, frozen=True, kw_only=True):
    """An update of the fleet's firmware. `fleet-sim rehearse` drives it without a cloud, and
    `fleet-sim run` over the target's."""

    at_s: Duration | None = field(name="at", default=None)
    """When `run` begins with it, after the beginning; unset: `run` leaves it out."""
    ends_run: bool = False
    """Whether the run ends when it has, and not with the phases."""

    firmware: FirmwareImage = field(default_factory=FirmwareImage)
    """What is installed."""
    preconditions: CampaignConditions = field(default_factory=CampaignConditions)
    """What must hold before."""
    waves: CampaignWaves = field(default_factory=CampaignWaves)
    """In which portions vehicles are started."""
    gate: CampaignGate = field(default_factory=CampaignGate)
    """When it is stopped."""
    retry: CampaignRetry = field(default_factory=CampaignRetry)
    """What is tried again, and what is given up."""
    window: tuple[TimeOfDay, TimeOfDay] | None = None
    """Local time of day in which vehicles are started; it may pass midnight. Unset: always."""
    mishaps: Mishaps = field(default_factory=Mishaps)
    """What happens to vehicles meanwhile."""


def check_campaign(campaign: Campaign | None, groups: Sequence[Any]) -> Iterator[tuple[Path, str]]:
    """What does not fit together in the campaign, and in the groups' firmware."""
    for i, group in enumerate(groups):
        total = sum(group.firmware.values())
        if abs(total - 1.0) > 1e-6:
            shown = f"{total * 100:g}%"
            message = f"the shares add up to {shown} (allowed: 100% over all versions)"
            yield ("fleet", i, "firmware"), message
    if campaign is None:
        return
    image = campaign.firmware
    if image.size < 1_000:
        yield (
            ("campaign", "firmware", "size"),
            f"{image.size} is not allowed (allowed: 1kB or more)",
        )
    defect = image.defect
    bad = defect.boot_failure + defect.self_test_failure + defect.delayed_failure
    if bad > 1.0 + 1e-9:
        message = f"the shares add up to {bad * 100:g}% (allowed: at most 100% of the vehicles)"
        yield ("campaign", "firmware", "defect"), message
    windows: tuple[tuple[Path, tuple[str, str] | None], ...] = (
        (("campaign", "preconditions", "window"), campaign.preconditions.window),
        (("campaign", "window"), campaign.window),
    )
    for path, window in windows:
        if window is not None and window[0] == window[1]:
            message = f"{window[0]} to {window[1]} is no time at all (allowed: two different times)"
            yield path, message
    shares = campaign.waves.shares
    rising = all(a < b for a, b in zip((0.0, *shares), shares, strict=False))
    if not rising or shares[-1] != 1.0:
        listed = ", ".join(f"{share * 100:g}%" for share in shares)
        message = f"{listed} is not allowed (allowed: shares that rise from above 0% to 100%)"
        yield ("campaign", "waves", "shares"), message
