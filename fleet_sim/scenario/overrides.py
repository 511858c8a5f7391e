"""`--set fleet.taxis.count=100`: values put into the tree before it is checked.

A path is names and indices: `fleet[0].count`. An item of a list can be named by its `group` or
`name` too: `fleet.taxis.count`, `phases.surge.duration`. A name with other characters stands in
double quotes: `thresholds."audit_lost"`. The value is YAML.
"""

import re

from fleet_sim.scenario.nodes import Entry, Node, compose
from fleet_sim.scenario.problems import (
    Path,
    Place,
    Problem,
    ScenarioError,
    path_text,
    shorten,
    unknown_name,
)

_PART = re.compile(
    r"""(?P<dot>\.?)(?:\[(?P<index>[0-9]{1,9})\]|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^.\[\]"=]+))"""
)
_NAME_FIELDS = ("group", "name")


def apply_overrides(root: Node, overrides: tuple[str, ...], problems: list[Problem]) -> Node:
    """The tree with each override put in, in order; what cannot be is added to `problems`."""
    for text in overrides:
        place = Place(f"--set {_one_line(text)}")
        try:
            path, value = _parse(text, place, problems)
            root = _put(root, path, value, place, ())
        except ScenarioError as error:
            problems.extend(error.problems)
    return root


def _one_line(text: str) -> str:
    return shorten("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text), 100)


def _fail(place: Place, path: Path, message: str) -> ScenarioError:
    return ScenarioError([Problem.at(place, path, message)])


def _parse(text: str, place: Place, problems: list[Problem]) -> tuple[Path, Node]:
    path: list[str | int] = []
    at = 0
    while (part := _PART.match(text, at)) and bool(part["dot"]) == bool(
        path and part["index"] is None
    ):
        if part["index"] is not None:
            path.append(int(part["index"]))
        elif part["quoted"] is not None:
            path.append(re.sub(r"\\(.)", r"\1", part["quoted"]))
        else:
            path.append(part["bare"].strip())
        at = part.end()
    if not path or text[at : at + 1] != "=":
        message = "not understood (allowed: PATH=VALUE such as fleet[0].count=100)"
        raise _fail(place, (), message)
    found: list[Problem] = []
    value = compose(text[at + 1 :], place, found)
    problems.extend(found)
    return tuple(path), value or Node(None, place)


def _put(node: Node, path: Path, value: Node, place: Place, above: Path) -> Node:
    """`node` with `value` at `path`; the node itself is left as it was (aliases share it)."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(node.value, tuple):
        index = _index(node.value, head, place, above)
        items = list(node.value)
        items[index] = _put(items[index], rest, value, place, (*above, index))
        return Node(tuple(items), node.place)
    if isinstance(node.value, dict) and isinstance(head, str):
        old = node.value.get(head)
        if old is None and rest and isinstance(rest[0], int):
            message = "nothing is there to count through (allowed: the whole list as the value)"
            raise _fail(place, (*above, head), message)
        if old is None:
            inner = _put(Node({}, place), rest, value, place, (*above, head))
        else:
            inner = _put(old.node, rest, value, place, (*above, head))
        key_place = old.place if old is not None and rest else place
        return Node({**node.value, head: Entry(inner, key_place)}, node.place)
    what = "a mapping" if isinstance(node.value, dict) else "no list or mapping"
    name = path_text(above) or "the scenario"
    raise _fail(place, (*above, head), f"there is no such place: {name} is {what}")


def _index(items: tuple[Node, ...], head: str | int, place: Place, above: Path) -> int:
    if isinstance(head, int):
        if head >= len(items):
            allowed = f"0..{len(items) - 1}" if items else "none, the list is empty"
            raise _fail(place, (*above, head), f"there is no item {head} (allowed: {allowed})")
        return head
    names = [_name(item) for item in items]
    if names.count(head) != 1:
        if head in names:
            raise _fail(place, above, f"more than one item is named {head!r} (allowed: an index)")
        known = [name for name in names if name is not None]
        raise _fail(place, above, unknown_name(f"no item is named {shorten(head)!r}", head, known))
    return names.index(head)


def _name(item: Node) -> str | None:
    if isinstance(item.value, dict):
        for field in _NAME_FIELDS:
            entry = item.value.get(field)
            if entry is not None and isinstance(entry.node.value, str):
                return entry.node.value
    return None
