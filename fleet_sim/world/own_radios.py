"""Radios of a scenario's own, and the built-in ones in a scenario's terms."""

from dataclasses import replace
from math import inf
from typing import Any

from fleet_sim.models.radio import Place, RadioPreset
from fleet_sim.models.radio_outages import gilbert_elliott, transition_probabilities
from fleet_sim.scenario import presets as spec
from fleet_sim.scenario.presets import OwnRadio
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.world.own_presets import (
    Field,
    UnfitError,
    described,
    given,
    require_given,
    same,
    source_of,
    written,
)

_LINK = {
    "rtt_s": "rtt_median_s",
    "rtt_log_sigma": "rtt_log_sigma",
    "uplink_kbps": "uplink_kbps",
    "downlink_kbps": "downlink_kbps",
    "throughput_log_sigma": "throughput_log_sigma",
}
_LAYERS = {
    "handover_distance_m": "handover_m",
    "handover_gap_s": "handover_gap_s",
    "handover_gap_log_sigma": "handover_gap_log_sigma",
    "handover_failure": "handover_failure",
    "correlation_length_m": "correlation_m",
    "outage_shape": "outage_shape",
    "delay_below_s": "delay_below_s",
}
_ONLY_LAYERS = (*_LAYERS, "handovers", "failure_s", "places")
_ONLY_STATES = ("p", "r", "slot_s")
_PLACE = {
    "area_share": "area_share",
    "outage_share": "outage_share",
    "outage_mean_s": "outage_mean_s",
    "rtt_factor": "rtt_factor",
    "throughput_factor": "throughput_factor",
}
_CLASSES = ("good", "weak", "hole")
_NO_HANDOVERS = {
    "handover_m": inf,
    "handover_gap_s": 0.001,  # of none
    "handover_gap_log_sigma": 0.0,
    "handover_failure": 0.0,
    "failure_s": (0.0, 0.0),
}


def make_radio(name: str, own: OwnRadio, base: RadioPreset | None) -> RadioPreset:
    """The network that `own` describes; `UnfitError` when its fields do not fit together."""
    have = given(own)
    kind = own.kind or ("three_layer" if base is None else kind_of(base))
    wrong = _ONLY_LAYERS if kind == "gilbert_elliott" else _ONLY_STATES
    unfit: list[tuple[Field, str]] = [
        ((written(OwnRadio, f),), f"is not allowed with kind {kind} (allowed: unset)")
        for f in wrong
        if f in have
    ]
    if unfit:
        raise UnfitError(unfit)
    figures: dict[str, Any] = {"name": name, "source": source_of(own), **same(_LINK, have)}
    if base is None:
        require_given(OwnRadio, have, (*_LINK, *_needed(own, kind)))
    if kind == "gilbert_elliott":
        figures |= _two_states(own, base)
    else:
        figures |= _layers(own, have, base)
    return RadioPreset(**figures) if base is None else replace(base, **figures)


def _needed(own: OwnRadio, kind: str) -> tuple[str, ...]:
    """What a network without a base must say beside its link."""
    if kind == "gilbert_elliott":
        return ("p", "r")
    spared = {"handovers", "delay_below_s"}
    if own.handovers is False:
        spared |= {f for f in _ONLY_LAYERS if f.startswith("handover")} | {"failure_s"}
    return tuple(f for f in _ONLY_LAYERS if f not in spared)


def kind_of(preset: RadioPreset) -> str:
    """`gilbert_elliott` for two memoryless states that are alike everywhere, else
    `three_layer`."""
    laws = {(place.outage_share, place.outage_mean_s) for place in preset.places}
    simple = preset.outage_shape == 1.0 and preset.handover_m == inf and len(laws) == 1
    return "gilbert_elliott" if simple else "three_layer"


def _two_states(own: OwnRadio, base: RadioPreset | None) -> dict[str, Any]:
    if own.p is None and own.r is None and base is not None and kind_of(base) == "gilbert_elliott":
        if own.slot_s is not None:
            raise UnfitError([(("slot",), "is given without p and r (allowed: all of them)")])
        return {}
    missing = [f for f in ("p", "r") if getattr(own, f) is None]
    if missing:
        raise UnfitError(((f,), "is missing (allowed: p and r together)") for f in missing)
    p, r, slot_s = float(own.p or 0.0), float(own.r or 0.0), float(own.slot_s or 1.0)
    if p + r >= 1.0:
        problem = f"{own.p} is not allowed with r {own.r} (allowed: p + r below 1; a shorter slot)"
        raise UnfitError([(("p",), problem)])
    share, mean_s = gilbert_elliott(p, r, slot_s)
    return {
        **_NO_HANDOVERS,
        "correlation_m": 1.0,  # of nothing: all places are alike
        "places": tuple(Place(area, share, mean_s) for area in (1.0, 0.0, 0.0)),
        "outage_shape": 1.0,
        "delay_below_s": 0.0,
    }


def _layers(own: OwnRadio, have: dict[str, Any], base: RadioPreset | None) -> dict[str, Any]:
    figures = same(_LAYERS, have)
    if base is None:
        figures.setdefault("delay_below_s", 0.0)
    if own.handovers is False:
        if own.handover_distance_m is not None:
            problem = "is given although handovers is false (allowed: unset)"
            raise UnfitError([(("handover_distance",), problem)])
        figures = {**(_NO_HANDOVERS if base is None else {"handover_m": inf}), **figures}
    elif own.handovers and figures.get("handover_m", base and base.handover_m) == inf:
        problem = f"is missing (allowed: a length; {own.base} has no handovers)"
        raise UnfitError([(("handover_distance",), problem)])
    if own.failure_s is not None:
        low, high = own.failure_s
        if low > high:
            problem = f"[{low}, {high}] is not allowed (allowed: low before high)"
            raise UnfitError([(("failure",), problem)])
        figures["failure_s"] = (float(low), float(high))
    if own.places is not None:
        figures["places"] = _places(own.places, base)
    return figures


def _places(own: spec.Places, base: RadioPreset | None) -> tuple[Place, ...]:
    made: list[dict[str, Any]] = []
    missing: list[tuple[Field, str]] = []
    for i, name in enumerate(_CLASSES):
        place = getattr(own, name)
        figures = {} if place is None else same(_PLACE, given(place))
        if base is not None:
            old = base.places[i]
            figures = {f: figures.get(f, getattr(old, f)) for f in _PLACE.values()}
        needed = ("outage_share", "outage_mean_s") if i == 0 else tuple(_PLACE.values())[:3]
        missing += [
            (
                ("places", name, written(spec.BadPlace, f)),
                "is missing (allowed: it must be given, or a base)",
            )
            for f in needed
            if f not in figures
        ]
        made.append(figures)
    if missing:
        raise UnfitError(missing)
    bad = made[1]["area_share"] + made[2]["area_share"]
    if bad > 1.0 + 1e-9:  # sums of decimal fractions are off by less
        weak, hole = (Fraction(made[i]["area_share"]) for i in (1, 2))
        problem = f"{hole} is not allowed beside {weak} of weak places (allowed: 100% in sum)"
        raise UnfitError([(("places", "hole", "area_share"), problem)])
    made[0]["area_share"] = max(round(1.0 - bad, 12), 0.0)
    return tuple(Place(**figures) for figures in made)


def describe_radio(preset: RadioPreset) -> OwnRadio:
    """Every figure of a network as a scenario gives it."""
    figures: dict[str, Any] = described(OwnRadio, _LINK, preset)
    if kind_of(preset) == "gilbert_elliott":
        good = preset.places[0]
        p, r = transition_probabilities(good.outage_share, good.outage_mean_s, 1.0)
        figures |= {"kind": "gilbert_elliott", "p": p, "r": r, "slot_s": Duration(1)}
        return OwnRadio(**figures, source=preset.source)
    layers = dict(_LAYERS)
    if preset.handover_m == inf:
        del layers["handover_distance_m"]
    figures |= described(OwnRadio, layers, preset)
    good, weak, hole = preset.places
    without_area = {k: v for k, v in _PLACE.items() if k != "area_share"}
    return OwnRadio(
        kind="three_layer",
        handovers=preset.handover_m < inf,
        failure_s=(Duration(preset.failure_s[0]), Duration(preset.failure_s[1])),
        places=spec.Places(
            good=spec.GoodPlace(**described(spec.GoodPlace, without_area, good)),
            weak=spec.BadPlace(**described(spec.BadPlace, _PLACE, weak)),
            hole=spec.BadPlace(**described(spec.BadPlace, _PLACE, hole)),
        ),
        **figures,
        source=preset.source,
    )
