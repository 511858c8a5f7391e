"""The YAML of scenarios: what of it is refused, and what a plain scalar is."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenario_text import BOMB, changed, problems

from fleet_sim.scenario import ScenarioError, loads
from fleet_sim.scenario.nodes import MAX_DEPTH, resolve


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [*x]", ":1: the alias *x contains itself"),
        ("&x a: *y", ":1: the alias *y has no anchor before it"),
        ("name: !!python/object:os.system x", "the tag 'tag:yaml.org,2002:python/object:os.system"),
        ("a: !x {b: c}", ":1: the tag '!x' is not allowed"),
        ("a: &x {b: c}\nd: {<<: *x}", ":2: merge keys (<<) are not allowed"),
        ("a: b\n---\nc: d\n", ":2: a second document begins (allowed: one)"),
        ("[a, b]: c", ":1: a list or mapping as a key"),
        ("&x a: b\n*x : c", ":2: an alias as a key"),
        ("1: c", ":1: the key 1 is not text"),
        ("true: c", ":1: the key true is not text"),
        ("~: c", ":1: the key null is not text"),
        ("[" * 100_000, f":1: nested too deeply (allowed: {MAX_DEPTH} levels)"),
        ("{a: " * 100_000, f":1: nested too deeply (allowed: {MAX_DEPTH} levels)"),
        ("- " * 100_000, f":1: nested too deeply (allowed: {MAX_DEPTH} levels)"),
        ("[" + "a," * 150_000 + "]", ":1: too large: more than 100000 values"),
        ("\ta: b", ":1: not YAML"),
        ("a: b: c", ":1: not YAML: mapping values are not allowed"),
        ("a: 'b", "not YAML: found unexpected end of stream"),
    ],
)
def test_yaml_that_is_refused(text, message):
    assert any(message in line for line in problems(text))


def test_the_limit_of_depth_is_where_it_is_said_to_be():
    def nested(levels):
        return f"a: {'[' * levels}{']' * levels}\n"

    assert "nested" not in problems(nested(MAX_DEPTH - 1))[0]
    assert "nested" in problems(nested(MAX_DEPTH))[0]


def test_a_problem_is_at_the_key_and_not_where_its_value_begins():
    text = changed("name: good", "name: good\ncity:\n  generate:\n\n    - 3")
    assert problems(text)[0].startswith("x.yaml:3: city.generate: a list of 1 is not allowed")


def test_an_alias_bomb_costs_no_memory():
    tracemalloc.start()
    try:
        problems(BOMB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_aliases_of_whole_values_are_fine():
    text = changed("{group: taxis, count: 5, vehicle: model3_rwd}", "&t {group: taxis, count: 5, "
                   "telemetry: &p {period: 2s}}")  # fmt: skip
    text = text.replace("count: 3", "count: 3\n    telemetry: *p")
    assert [group.telemetry.period_s for group in loads(text).fleet] == [2, 2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            (t, t)
            for t in ["22:00", "1:30:00", "no", "on", "Yes", "off", "y", "1_000", "2026-06-05"]
        ],
        *[(t, t) for t in ["0b11", "1,5", "1m", "5%", "+", ".", "0x", "- 1", "٣"]],
        *[(t, None) for t in ["", "~", "null", "NULL"]],
        *[("true", True), ("False", False)],
        *[("012", 12), ("-7", -7), ("+7", 7), ("0o17", 15), ("0xfF", 255)],
        *[("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-1.5E-2", -0.015)],
        *[(".inf", float("inf")), ("-.INF", float("-inf"))],
    ],
)
def test_plain_scalars_follow_yaml_1_2(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@given(st.text() | st.text(alphabet="{}[]:,-&*!|>'\"%#?@ \n\tab01<~"))
def test_no_text_gets_past_with_another_error(text):
    with pytest.raises(ScenarioError) as caught:
        loads(text)
    assert len(str(caught.value).splitlines()) <= 101
