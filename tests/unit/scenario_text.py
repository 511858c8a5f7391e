"""A scenario that is good, and what is said of one that is not."""

import pytest

from fleet_sim.scenario import Catalog, ScenarioError, loads

CATALOG = Catalog(
    vehicles=("model3_rwd", "leaf_30"), radios=("lte_urban",), venues=("arena", "market")
)

GOOD = """\
name: good
fleet:
  - {group: taxis, count: 5, vehicle: model3_rwd}
  - group: vans
    count: 3
phases:
  - name: calm
    duration: 1m
  - name: surge
    duration: 1m
    parking: {event: {at: arena, attendance: 10, peak_before: 20s}}
faults:
  - {at: 90s, for: 30s, radio: {district: north}}
"""


BOMB = (
    "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    + GOOD
)


def problems(text, **kwargs):
    with pytest.raises(ScenarioError) as caught:
        loads(text, name="x.yaml", catalog=CATALOG, **kwargs)
    lines = str(caught.value).splitlines()
    assert lines == [str(problem) for problem in caught.value.problems]
    return lines


def changed(old, new):
    assert GOOD.count(old) == 1, f"{old!r} is not there once"
    return GOOD.replace(old, new)
