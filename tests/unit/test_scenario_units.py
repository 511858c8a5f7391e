"""Quantities: exact parsing, clear refusals, and a text for every value that reads back equal."""

import copy
import math
import pickle
import re
from fractions import Fraction as Exact

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet_sim.scenario.physical import (
    Angle,
    Area,
    DataRate,
    Energy,
    Force,
    Frequency,
    LinearDrag,
    Mass,
    Power,
    QuadraticDrag,
    Resistance,
    Temperature,
)
from fleet_sim.scenario.units import (
    QUANTITIES,
    ByteSize,
    Duration,
    Fraction,
    Length,
    Speed,
    dec_hook,
    enc_hook,
)


@pytest.mark.parametrize(
    ("cls", "text", "value"),
    [
        (Duration, "250ms", 0.25),
        (Duration, "30s", 30),
        (Duration, "5m", 300),
        (Duration, "2h", 7200),
        (Duration, "1d", 86400),
        (Duration, "1m30s", 90),
        (Duration, "90m30s", 5430),
        (Duration, "1d2h3m4s5ms", 93784.005),
        (Duration, "1.1m", 66),  # 1.1 * 60 is 66.00000000000001 in binary
        (Duration, "0s", 0),
        (Fraction, "5%", 0.05),
        (Fraction, "7%", 0.07),
        (Fraction, "37.5%", 0.375),
        (Fraction, "100%", 1),
        (Length, "100m", 100),
        (Length, "0.5km", 500),
        (Length, "300ft", 91.44),
        (Speed, "36km/h", 10),
        (Speed, "30mph", 13.4112),
        (Speed, "12m/s", 12),
        (Length, "12in", 0.3048),
        (Length, "30cm", 0.3),
        (Length, "5mm", 0.005),
        (Mass, "2.1t", 2100),
        (Mass, "3875lb", 3875 * 0.45359237),
        (Energy, "800Wh", 0.8),
        (Power, "250W", 0.25),
        (Resistance, "40mohm", 0.04),
        (Resistance, "40mΩ", 0.04),
        (Area, "2.2m2", 2.2),
        (Area, "10ft²", 0.9290304),
        (Force, "10lbf", 44.482216152605),
        (LinearDrag, "-0.5Ns/m", -0.5),
        (LinearDrag, "0.44704lbf/mph", 4.4482216152605),
        (QuadraticDrag, "0.1998447616lbf/mph2", 4.4482216152605),
        (DataRate, "6.3Mbit/s", 6300),
        (Frequency, "48kHz", 48_000),
        (Angle, "30°", 30),
        (Temperature, "-7C", -7),
        (Temperature, "-7°C", -7),
        (Temperature, "20F", -20 / 3),
        (Temperature, "-40F", -40),
        (ByteSize, "100B", 100),
        (ByteSize, "200kB", 200_000),
        (ByteSize, "200MB", 200_000_000),
        (ByteSize, "1.5GB", 1_500_000_000),
        (ByteSize, "512KiB", 524_288),
        (ByteSize, "1.5GiB", 1_610_612_736),
    ],
)
def test_texts_are_read_in_si_units(cls, text, value):
    assert cls.parse(text) == value


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        *[
            (Duration, v)
            for v in [
                "",
                "30",
                "30 s",
                "30S",
                "-5s",
                "1s1m",
                "1m1m",
                "5mms",
                "1..5s",
                "1e3s",
                False,
            ]
        ],
        *[(Duration, v) for v in ["s", "30s\n", "٣s", "infs", "367d", 30, 1.5, True, None, [], -1]],
        *[(Fraction, v) for v in ["101%", "-5%", "5", "0.5", "5 %", 1.01, -0.01, 60, True, None]],
        (Fraction, math.nan),
        (Fraction, math.inf),
        *[(Length, v) for v in ["100", "100mi", "-1m", "5M", 100, "1001km"]],
        *[(Temperature, v) for v in ["-274C", "-460F", "20", 0, 20, "20K", "2000C", "--7C", "−7C"]],
        *[(Mass, v) for v in ["2100", "2100 kg", "-2100kg", "2100KG", 2100, None]],
        *[(Energy, v) for v in ["40kwh", "40kW", 40]],
        *[(Power, v) for v in ["50kWh", "1MW", 50]],
        *[(Area, v) for v in ["2.2m", "2.2"]],
        *[(Speed, v) for v in ["35", "35kmh", "35kph", "433km/h", 35, math.nan]],
        *[(ByteSize, v) for v in ["100", "0.5B", "0.1KiB", "1.5gb", "1PB", "1Gb", 100, -1, 1.0]],
        (ByteSize, "1001TB"),
    ],
)
def test_what_is_refused_quotes_the_value_and_says_what_is_allowed(cls, value):
    with pytest.raises(ValueError, match=r"is not allowed \(allowed: .+\)$") as caught:
        cls.decode(value)
    message = str(caught.value)
    assert "\n" not in message
    shown = repr(value) if isinstance(value, str) else str(value).lower().replace("none", "null")
    assert message.startswith(shown)


def test_a_bare_number_is_told_which_units_there_are():
    with pytest.raises(ValueError, match="250ms, 30s, 5m, 2h, 1d or 1m30s"):
        Duration.decode(30)
    assert Duration.decode(0) == 0


def test_a_long_text_is_refused_without_repeating_it():
    with pytest.raises(ValueError, match="is not allowed") as caught:
        Duration.parse("9" * 100_000 + "s")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("cls", QUANTITIES)
@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, 1e300])
def test_a_quantity_cannot_be_made_out_of_range(cls, value):
    if -1 <= value < 0 and getattr(cls, "MIN", 0) < 0:
        value = cls.MIN * 1.001
    with pytest.raises(ValueError, match="is not allowed"):
        cls(value)


@pytest.mark.parametrize("cls", [cls for cls in QUANTITIES if cls is not ByteSize])
def test_every_float_reads_back_bit_for_bit(cls):
    @given(st.floats(cls.MIN, cls.MAX))
    @example(5e-324)
    @example(-0.0)
    @example(cls.MIN)
    @example(math.nextafter(cls.MAX, 0))
    @example(cls.MAX)
    def check(value):
        quantity = cls(value)
        text = str(quantity)
        assert re.fullmatch(cls.PATTERN, text)
        assert cls.parse(text) == quantity == value
        assert str(cls.parse(text)) == text

    check()


@given(st.integers(0, ByteSize.MAX))
def test_every_size_reads_back(value):
    assert ByteSize.parse(str(ByteSize(value))) == value


@given(
    st.integers(0, 360), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59),
    st.integers(0, 999),
)  # fmt: skip
def test_compounds_are_exact(days, hours, minutes, seconds, ms):
    exact = Exact(days * 86400 + hours * 3600 + minutes * 60 + seconds) + Exact(ms, 1000)
    assert Duration.parse(f"{days}d{hours}h{minutes}m{seconds}s{ms}ms") == float(exact)


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (Duration(90), "1m30s"),
        (Duration(0.25), "250ms"),
        (Duration(0), "0s"),
        (Duration(3600), "1h"),
        (Fraction(0.07), "7%"),
        (Fraction(1), "100%"),
        (Length(91.44), "91.44m"),
        (Speed.parse("50km/h"), "50km/h"),
        (Speed(120), "432km/h"),
        (ByteSize(1_500_000_000), "1500MB"),
        (ByteSize(524_288), "512KiB"),
        (ByteSize(0), "0B"),
    ],
)
def test_canonical_texts(quantity, text):
    assert str(quantity) == text
    assert repr(quantity) == f"{type(quantity).__name__}({text!r})"


def test_quantities_are_plain_numbers_elsewhere():
    assert Duration(3) * 2 == 6
    assert f"{Duration(3):.1f}" == "3.0"
    assert pickle.loads(pickle.dumps(Duration(3))) == copy.deepcopy(Duration(3)) == 3
    assert type(pickle.loads(pickle.dumps(ByteSize(3)))) is ByteSize


def test_msgspec_reads_and_writes_them():
    class Box(msgspec.Struct):
        wait: Duration
        size: ByteSize | None = None

    box = msgspec.convert({"wait": "90s", "size": "1GB"}, Box, dec_hook=dec_hook)
    assert box == Box(Duration(90), ByteSize(10**9))
    assert msgspec.to_builtins(box, enc_hook=enc_hook) == {"wait": "1m30s", "size": "1GB"}
    with pytest.raises(msgspec.ValidationError, match=r"'x' is not allowed .* - at `\$.wait`"):
        msgspec.convert({"wait": "x"}, Box, dec_hook=dec_hook)
