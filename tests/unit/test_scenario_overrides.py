"""`--set PATH=VALUE`: what it reaches, and how its errors name it."""

import pytest

from fleet_sim.scenario import Catalog, ScenarioError, loads

TEXT = """\
name: x
fleet:
  - &taxis {group: taxis, count: 5, telemetry: &often {period: 1s}}
  - {group: v.ans, count: 3, telemetry: *often}
phases:
  - {name: calm, duration: 1m}
  - {name: surge, duration: 1m, parking: {event: {at: arena, attendance: 10}}}
thresholds:
  "audit_lost": ["count==0"]
  "latency_ms{stage:visible}": ["p(95)<2000"]
"""


def with_set(*overrides):
    return loads(TEXT, name="x.yaml", overrides=overrides)


def errors(*overrides, text=TEXT):
    with pytest.raises(ScenarioError) as caught:
        loads(text, name="x.yaml", overrides=overrides, catalog=Catalog(vehicles=("leaf_30",)))
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("override", "get", "value"),
    [
        ("seed=5", lambda s: s.seed, 5),
        ("name=other", lambda s: s.name, "other"),
        ("description=a=b: # c", lambda s: s.description, None),
        ('description="a=b: # c"', lambda s: s.description, "a=b: # c"),
        ("fleet[0].count=100", lambda s: s.fleet[0].count, 100),
        ("fleet.taxis.count=100", lambda s: s.fleet[0].count, 100),
        ('fleet."v.ans".count=100', lambda s: s.fleet[1].count, 100),
        ("phases.surge.duration=3m", lambda s: s.phases[1].duration_s, 180),
        ("phases[1].parking.event.peak_before=5s",
         lambda s: s.phases[1].parking.event.peak_before_s, 5),
        ("phases.calm.parking.occupancy=20%", lambda s: s.phases[0].parking.occupancy, 0.2),
        ("clock.speed=10", lambda s: s.clock.speed, 10),
        ("clock={speed: 10}", lambda s: s.clock.speed, 10),
        ("faults=[{at: 1s, for: 2s, radio: {}}]", lambda s: s.faults[0].for_s, 2),
        ("phases.surge.parking.event=null", lambda s: s.phases[1].parking.event, None),
        ('thresholds.audit_lost=["count<9"]', lambda s: s.thresholds["audit_lost"], ("count<9",)),
        ('thresholds."audit_lost"=["count<9"]', lambda s: s.thresholds["audit_lost"], ("count<9",)),
        ('thresholds.latency_ms{stage:visible}=["p(95)<1"]',
         lambda s: s.thresholds["latency_ms{stage:visible}"], ("p(95)<1",)),
        ('thresholds."a.b{c:d}"=["count<9"]', lambda s: s.thresholds["a.b{c:d}"], ("count<9",)),
    ],
)  # fmt: skip
def test_what_is_set(override, get, value):
    if value is None and "#" in override:  # bare YAML: `a=b: # c` is a mapping, and no text
        assert errors(override)[0].endswith("a mapping is not allowed (allowed: text)")
        return
    assert get(with_set(override)) == value


def test_the_rest_stays_as_it_was():
    changed = with_set("fleet.taxis.count=100")
    assert changed.fleet[1:] == with_set().fleet[1:]
    assert changed.thresholds == with_set().thresholds


def test_an_alias_is_not_changed_with_its_anchor():
    changed = with_set("fleet.taxis.telemetry.period=9s")
    assert [group.telemetry.period_s for group in changed.fleet] == [9, 1]


def test_the_last_one_wins():
    assert with_set("seed=1", "seed=2").seed == 2
    assert with_set("fleet[0].group=cabs", "fleet.cabs.count=9").fleet[0].count == 9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fleet[0].count=-5", "fleet[0].count: -5 is not allowed (allowed: 1..1000000)"),
        ("fleet[2].count=1", "fleet[2]: there is no item 2 (allowed: 0..1)"),
        ("faults[0].at=1s", "faults: nothing is there to count through "
                            "(allowed: the whole list as the value)"),
        ("fleet.taxi.count=1", "fleet: no item is named 'taxi', did you mean 'taxis'? "
                               "(allowed: taxis, v.ans)"),
        ("fleet[0].vehicle=leaf", "fleet[0].vehicle: 'leaf' is not known, did you mean 'leaf_30'? "
                                  "(allowed: leaf_30)"),
        ("clok.speed=1", "clok: unknown field, did you mean 'clock'? (allowed: name, description, "
                         "seed, clock, city, weather, presets, fleet, phases, faults, mqtt, "
                         "campaign, load, thresholds)"),
        ("clock.sped=1", "clock.sped: unknown field, did you mean 'speed'? "
                         "(allowed: speed, start)"),
        ("name.x=1", "name.x: there is no such place: name is no list or mapping"),
        ("[0]=1", "[0]: there is no such place: the scenario is a mapping"),
        ("seed=", "seed: null is not allowed (allowed: 0..9223372036854775807)"),
        ("seed=[", "not YAML: did not find expected node content"),
        ("seed=!!int 3", "the tag 'tag:yaml.org,2002:int' is not allowed (allowed: no tags)"),
        ("clock={speed: 1, speed: 2}", "speed: the key is there twice (allowed: once)"),
        *[(text, "not understood (allowed: PATH=VALUE such as fleet[0].count=100)")
          for text in ["seed", "", "=3", "fleet..x=1", ".seed=1", "fleet[x].count=1", "fleet[0=1",
                       "fleet[0]count=1", 'fleet."x=1', "fleet.[0].count=1", "seed.=1"]],
    ],
)  # fmt: skip
def test_errors_name_the_argument(override, message):
    assert f"--set {override}: {message}" in errors(override)


def test_what_does_not_fit_together_is_at_the_field_it_is_about():
    # Many vehicles in one group are allowed, and so many in all are not.
    assert errors("fleet.taxis.count=1000000", text=TEXT)[0].startswith("x.yaml:2: fleet: 1000003")
    found = errors("phases.surge.duration=1s", "phases.surge.parking.event.peak_before=2s")
    assert found[0].startswith("--set phases.surge.parking.event.peak_before=2s: phases[1].parking")


def test_names_that_are_not_unique_need_an_index():
    text = TEXT.replace("name: surge", "name: calm")
    with pytest.raises(ScenarioError, match="more than one item is named 'calm'"):
        loads(text, overrides=["phases.calm.duration=1s"])


def test_the_problems_of_the_file_are_reported_too():
    found = errors("fleet[0].count=-5", "seed=x", "nothing", text=TEXT.replace("5,", "5, a: 1,"))
    assert [line.split(": ")[0] for line in found] == [
        "--set nothing", "--set fleet[0].count=-5", "--set seed=x", "x.yaml:3"
    ]  # fmt: skip


def test_an_argument_is_shown_on_one_line():
    assert errors("name=a\n\x1b[31m" + "b" * 200)[0].startswith(r"--set name=a\x0a\x1b[31mbbb")
    assert max(map(len, errors("fleet.x=" + "b" * 10_000))) < 400
