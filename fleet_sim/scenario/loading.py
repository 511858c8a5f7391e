"""Read a scenario: file → tree → overrides → structs, and everything that is wrong with it."""

import functools
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import inspect

from fleet_sim.scenario import nodes
from fleet_sim.scenario.catalog import Catalog
from fleet_sim.scenario.check import CheckPresets, CheckThreshold, check, related
from fleet_sim.scenario.model import Scenario
from fleet_sim.scenario.mqtt import SECRET_FILE
from fleet_sim.scenario.nodes import Node
from fleet_sim.scenario.overrides import apply_overrides
from fleet_sim.scenario.presets import OWN_KINDS
from fleet_sim.scenario.problems import Path as FieldPath
from fleet_sim.scenario.problems import Place, Problem, ScenarioError
from fleet_sim.scenario.structure import Fit
from fleet_sim.scenario.units import dec_hook


def load(
    source: Path | str,
    *,
    overrides: Sequence[str] = (),
    catalog: Catalog | None = None,
    check_threshold: CheckThreshold | None = None,
    check_presets: CheckPresets | None = None,
) -> Scenario:
    """The scenario in a file; `ScenarioError` lists everything that is wrong.

    `overrides` are `PATH=VALUE` texts (see `overrides.py`). `catalog` gives the names of presets,
    `check_threshold(metric, condition)` raises `ValueError` when it cannot be evaluated, and
    `check_presets(scenario)` says what does not fit in its own presets; what is left out is not
    checked. Paths of files are relative to the folder that the scenario is in, and
    absolute in the answer.
    """
    scenario = loads(
        _read(Path(source)),
        name=str(source),
        overrides=overrides,
        catalog=catalog,
        check_threshold=check_threshold,
        check_presets=check_presets,
    )
    return _absolute(scenario, Path(source).parent)


def _absolute(scenario: Scenario, folder: Path) -> Scenario:
    """With the files that it names where they are."""
    replace = msgspec.structs.replace

    def at(path: str) -> str:
        return str((folder / Path(path).expanduser()).resolve())

    if scenario.city.osm is not None:
        scenario = replace(scenario, city=replace(scenario.city, osm=at(scenario.city.osm)))
    mqtt = scenario.mqtt
    if mqtt.tls.ca is not None:
        mqtt = replace(mqtt, tls=replace(mqtt.tls, ca=at(mqtt.tls.ca)))
    if mqtt.password is not None and mqtt.password.startswith(SECRET_FILE):
        path = at(mqtt.password.removeprefix(SECRET_FILE))
        mqtt = replace(mqtt, password=f"{SECRET_FILE}{path}")
    return replace(scenario, mqtt=mqtt)


def loads(
    text: str,
    *,
    name: str = "scenario",
    overrides: Sequence[str] = (),
    catalog: Catalog | None = None,
    check_threshold: CheckThreshold | None = None,
    check_presets: CheckPresets | None = None,
) -> Scenario:
    """The scenario in a text; `name` is what errors call it. A map's path stays as it is written,
    else as `load`."""
    problems: list[Problem] = []
    root = _tree(text, name, overrides, problems)
    fit = Fit(_with_own_names(catalog, root))
    plain = fit.visit(root, _scenario_type())
    problems += fit.problems
    if fit.fatal:
        raise ScenarioError(problems)
    try:
        scenario = msgspec.convert(plain, Scenario, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        # The walk is meant to be at least as strict as msgspec; better late than a wrong value.
        raise ScenarioError([*problems, Problem(name, None, None, "", str(error))]) from error
    findings = check(scenario, catalog=catalog, check_threshold=check_threshold)
    if check_presets is not None and not any(path[:1] == ("presets",) for path, _ in findings):
        findings += check_presets(scenario)
    for path, message in findings:
        if not related(path, fit.unknown):  # else it may be a consequence of the misspelt field
            problems.append(Problem.at(_locate(root, path), path, message))
    if problems:
        raise ScenarioError(problems)
    return scenario


def _with_own_names(catalog: Catalog | None, root: Node) -> Catalog | None:
    """The catalog and the names of the presets that the scenario brings along."""
    presets = _below(root, "presets")
    if catalog is None or presets is None:
        return catalog
    names: dict[str, tuple[str, ...]] = {}
    for kind in OWN_KINDS:
        own, known = _below(presets, kind), getattr(catalog, kind)
        if known and own is not None and isinstance(own.value, dict):
            names[kind] = (*known, *(name for name in own.value if name not in known))
    return msgspec.structs.replace(catalog, **names)


def _below(node: Node, name: str) -> Node | None:
    entry = node.value.get(name) if isinstance(node.value, dict) else None
    return None if entry is None else entry.node


@functools.cache
def _scenario_type() -> inspect.Type:
    return inspect.type_info(Scenario)


def _tree(text: str, name: str, sets: Sequence[str], problems: list[Problem]) -> Node:
    place = Place(name, 1, 1)
    root = nodes.compose(text, place, problems)
    if root is None:
        message = "the file is empty (allowed: a scenario; `fleet-sim init` writes one)"
        raise ScenarioError([Problem.at(Place(name), (), message)])
    return apply_overrides(root, tuple(sets), problems)


def _locate(root: Node, path: FieldPath) -> Place:
    """Of the field, or of the nearest one above it that was written."""
    node, place = root, root.place
    for part in path:
        if isinstance(part, int) and isinstance(node.value, tuple):
            node = node.value[part]
            place = node.place
        elif isinstance(part, str) and isinstance(node.value, dict) and part in node.value:
            node, place = node.value[part]
        else:
            break
    return place


def _read(path: Path) -> str:
    """Text of a file; `ScenarioError` when it is missing, too large or no text."""

    def fail(message: str, line: int | None = None) -> ScenarioError:
        return ScenarioError([Problem(str(path), line, None, "", message)])

    try:
        with path.open("rb") as file:
            data = file.read(nodes.MAX_BYTES + 1)
    except FileNotFoundError:
        raise fail("no such file (allowed: a scenario's YAML file)") from None
    except IsADirectoryError:
        raise fail("is a folder (allowed: a scenario's YAML file)") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise fail(f"cannot be read: {reason}") from error
    if len(data) > nodes.MAX_BYTES:
        raise fail(f"is larger than {nodes.MAX_BYTES} bytes (allowed: 1 MiB)")
    if b"\0" in data:
        raise fail("is a binary file (allowed: YAML text in UTF-8)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"the byte 0x{data[error.start]:02X} is not UTF-8 (allowed: YAML text in UTF-8)"
        raise fail(message, line) from None
