"""The offset of two clocks, from messages whose true times are known."""

import numpy as np
import pytest

from fleet_sim.measure.clock import clock_offset, said

MS = 1_000_000
T0 = 1_780_000_000_000 * MS


def journey(offset_ms: float, n: int = 400) -> list[np.ndarray]:
    """Sent, stream, stored, visible: the middle two by a clock that is `offset_ms` ahead."""
    rng = np.random.default_rng(5)
    sent = T0 + np.arange(n) * 100 * MS
    stream = sent + ((3 + rng.exponential(20, n)) * MS).astype(np.int64)
    stored = stream + ((200 + rng.exponential(300, n)) * MS).astype(np.int64)
    visible = stored + ((5 + rng.exponential(60, n)) * MS).astype(np.int64)
    seen = rng.random(n) < 0.5
    shift = round(offset_ms * MS)
    return [
        sent,
        stream + shift,
        np.where(seen, stored + shift, 0),
        np.where(seen, visible, 0),
    ]


@pytest.mark.parametrize("offset_ms", [0.0, 37.5, -250.0, 86_400_000.0])
def test_the_offset_is_within_its_bound(offset_ms: float) -> None:
    found = clock_offset(*journey(offset_ms), {})

    assert found is not None
    assert found.steady
    assert abs(found.offset_ms - offset_ms) <= found.error_ms
    assert found.error_ms < 10  # as the fastest message and the fastest answer allow
    assert 150 < found.round_trips < 250


def test_a_clock_that_is_stepped_is_noticed() -> None:
    sent, stream, stored, visible = journey(0.0)
    stream[200:] += 500 * MS
    stored[200:] += np.where(stored[200:] != 0, 500 * MS, 0)
    found = clock_offset(sent, stream, stored, visible, {})

    assert found is not None
    assert not found.steady
    assert min(abs(found.offset_ms), abs(found.offset_ms - 500)) <= found.error_ms
    assert "stepped" in said(found)


def test_nothing_seen_says_nothing() -> None:
    sent, stream, _, _ = journey(0.0)
    none = np.zeros_like(sent)

    assert clock_offset(sent, stream, none, none, {}) is None


def test_negative_latencies_are_explained_by_a_clock_behind() -> None:
    behind = clock_offset(*journey(-250.0), {"stream": 390, "processed": 0})
    assert behind is not None
    text = said(behind)
    assert "behind" in text
    assert "stream 390" in text
    assert "processed" not in text
    assert "The clocks explain that" in text

    well = clock_offset(*journey(0.0), {"stream": 2})
    assert well is not None
    assert "explain" not in said(well)
