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
    install_s: Duration = field(name="install", default=Duration(600))
    """Time to write it into the spare slot."""
    url_life_s: UrlLife = field(name="url_life", default=Duration(900))
    """A download URL ends after so long; the vehicle asks for a new one."""
    defect: Defect = field(default_factory=Defect)
    """What is wrong with it."""
    attack: Attack = "none"
    """What an attacker does to the image or its signed metadata."""


class CampaignConditions(Strict, frozen=True, kw_only=True):
    """What must hold before a vehicle installs; until then it waits."""

    parked: bool = True
    """Whether it has to be parked."""
    min_soc: Fraction = Fraction(0.4)
    """Least state of charge."""
    window: tuple[TimeOfDay, TimeOfDay] | None = None
    """Local time of day from and to which it may install; it may pass midnight. Unset: always."""


class Campaign(Strict, frozen=True, kw_only=True):
    """An update of the fleet's firmware. `fleet-sim rehearse` drives it; `run` leaves it out."""

    firmware: FirmwareImage = field(default_factory=FirmwareImage)
    """What is installed."""
    preconditions: CampaignConditions = field(default_factory=CampaignConditions)
    """What must hold before."""


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
    window = campaign.preconditions.window
    if window is not None and window[0] == window[1]:
        yield (
            ("campaign", "preconditions", "window"),
            f"{window[0]} to {window[1]} is no time at all (allowed: two different times)",
        )
