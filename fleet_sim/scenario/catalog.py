"""The names a scenario may refer to. The presets themselves live in other rooms."""

import msgspec


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """Known names; an empty tuple means that any name is taken."""

    vehicles: tuple[str, ...] = ()
    """Vehicle presets."""
    radios: tuple[str, ...] = ()
    """Radio presets."""
    receivers: tuple[str, ...] = ()
    """Presets of satellite receivers."""
    sensors: tuple[str, ...] = ()
    """Presets of ultrasonic sensors."""
    venues: tuple[str, ...] = ()
    """Places in a city that draw a crowd."""
    metrics: tuple[str, ...] = ()
    """Metrics that a threshold may be about, without their tags."""
    live_metrics: tuple[str, ...] = ()
    """Metrics, with their tags, that are known while a run goes on."""
