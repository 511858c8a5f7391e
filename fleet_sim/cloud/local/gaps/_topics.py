"""Topic filters as a tree: a publish walks its own levels instead of every subscription."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

V = TypeVar("V", bound=Hashable)


class _Node(Generic[V]):
    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[V]] = {}
        # A dict as an ordered set: deliveries go out in the order of the subscriptions.
        self.values: dict[V, None] = {}


class TopicTree(Generic[V]):
    """Values under MQTT topic filters, as AWS IoT matches them.

    Two rules differ from plain MQTT: `a/#` does not match `a`, and `$aws/events/...` is matched by
    no filter that starts with a wildcard (other topics that start with `$` are).
    """

    def __init__(self) -> None:
        self._root: _Node[V] = _Node()

    def add(self, topic_filter: str, value: V) -> None:
        node = self._root
        for level in topic_filter.split("/"):
            node = node.children.setdefault(level, _Node())
        node.values[value] = None

    def discard(self, topic_filter: str, value: V) -> None:
        """Removes the value, and the branches that held nothing else."""
        path: list[tuple[_Node[V], str]] = []
        node = self._root
        for level in topic_filter.split("/"):
            path.append((node, level))
            child = node.children.get(level)
            if child is None:
                return
            node = child
        node.values.pop(value, None)
        for parent, level in reversed(path):
            child = parent.children[level]
            if child.values or child.children:
                return
            del parent.children[level]

    def clear(self) -> None:
        self._root = _Node()

    def under(self, topic_filter: str) -> list[V]:
        """The values of exactly this filter."""
        node = self._root
        for level in topic_filter.split("/"):
            child = node.children.get(level)
            if child is None:
                return []
            node = child
        return list(node.values)

    def match(self, topic: str) -> list[V]:
        """The values of every filter that matches `topic`, one entry a filter."""
        levels = topic.split("/")
        found: list[V] = []
        wild = not topic.startswith("$aws/events/")
        for node in self._walk(self._root, levels, 0, wild):
            found.extend(node.values)
        return found

    def _walk(
        self, node: _Node[V], levels: list[str], depth: int, wild: bool
    ) -> Iterator[_Node[V]]:
        if depth == len(levels):
            yield node
            return
        children = node.children
        child = children.get(levels[depth])
        if child is not None:
            yield from self._walk(child, levels, depth + 1, True)
        if wild:
            child = children.get("+")
            if child is not None:
                yield from self._walk(child, levels, depth + 1, True)
            child = children.get("#")
            if child is not None:
                yield child
