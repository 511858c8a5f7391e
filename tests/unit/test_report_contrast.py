"""Colours of the report against what they lie on, by WCAG 2.1: 4.5 for text, 3 for drawings."""

import re
from importlib.resources import files

import pytest

CSS = (files("fleet_sim.report") / "assets" / "report.css").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]
)

TEXT = [
    *((text, ground) for text in ("ink", "soft") for ground in ("bg", "panel")),
    *(("ink", f"{verdict}-bg") for verdict in ("good", "bad")),
    *((verdict, f"{verdict}-bg") for verdict in ("good", "bad")),
    *((verdict, "bg") for verdict in ("good", "bad")),
    *(("soft", f"{verdict}-bg") for verdict in ("good", "bad")),
    ("c0", "bg"),  # links
    ("soft", "phase"),
    ("soft", "phase-odd"),
]
DRAWN = [(f"c{i}", ground) for i in range(6) for ground in ("bg", "phase", "phase-odd")]
DRAWN += [(state, "panel") for state in ("free", "occupied", "wrong")]


def luminance(colour: str) -> float:
    """Relative, of sRGB (WCAG 2.1, definition)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure_is_wcags() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_and_drawings_stand_out(mode: str) -> None:
    colours = LIGHT if mode == "light" else DARK
    faint = {
        f"{front} on {back}": round(contrast(colours[front], colours[back]), 2)
        for pairs, least in ((TEXT, 4.5), (DRAWN, 3.0))
        for front, back in pairs
        if contrast(colours[front], colours[back]) < least
    }
    assert faint == {}
