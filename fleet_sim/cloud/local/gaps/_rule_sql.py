"""A topic rule's SQL and substitution templates, compiled once into functions of a message.

The grammar and the less common functions are MiniStack's, evaluated by MiniStack; what a
telemetry rule uses on every message (`*`, attributes, `topic`, `timestamp`, ...) is compiled here.
"""

from __future__ import annotations

import re
import time
import uuid
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import msgspec

from fleet_sim.cloud.local.gaps import _seam

_TEMPLATE = re.compile(r"\$\{([^}]*)\}")
_FUNCTION = re.compile(r"^([A-Za-z_]\w*)\s*\((.*)\)$", re.DOTALL)
_ATTRIBUTE = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
_STRING = re.compile(r"^'(?:[^']|'')*'$")
_INTEGER = re.compile(r"^-?\d+$")

_decode = msgspec.json.Decoder().decode


class UndecodablePayloadError(ValueError):
    """The SELECT clause needs a JSON object, and the payload is not one."""


class Message:
    """A publish, as the rules see it. The payload is decoded once, when first needed."""

    __slots__ = (
        "_levels",
        "_value",
        "client_id",
        "payload",
        "principal",
        "source_ip",
        "topic",
        "trace_id",
    )

    def __init__(
        self,
        topic: str,
        payload: bytes,
        client_id: str | None,
        principal: str | None,
        source_ip: str | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.client_id = client_id
        self.principal = principal
        self.source_ip = source_ip
        self.trace_id = ""
        self._value: Any = None
        self._levels: list[str] | None = None

    def value(self, missing: object) -> Any:
        """The decoded payload; its text if it is not JSON; `missing` if it is not text either."""
        if self._value is None:
            try:
                self._value = (_decode(self.payload),)
            except (msgspec.DecodeError, UnicodeDecodeError):
                try:
                    self._value = (self.payload.decode(),)
                except UnicodeDecodeError:
                    self._value = (missing,)
        return self._value[0]

    def levels(self) -> list[str]:
        if self._levels is None:
            self._levels = self.topic.split("/")
        return self._levels

    def trace(self) -> str:
        """The message's trace id: the same wherever it is asked for."""
        if not self.trace_id:
            self.trace_id = str(uuid.uuid4())
        return self.trace_id


Expression = Callable[[Message], Any]


class Compiler:
    """Compiles SQL with MiniStack's grammar; `missing` is the value of an Undefined expression."""

    def __init__(self) -> None:
        self._iot = iot = _seam.service("iot")
        _seam.expect(
            iot, "_MISSING", "_eval_where_node", "_parse_where", "_rule_message_identity",
            "_rule_select_clause", "_rule_topic_filter", "_rule_where_clause",
            "_select_default_key", "_split_select_alias", "_split_select_items",
        )  # fmt: skip
        _seam.expect_parameters(
            iot._eval_select_expr, "expr", "topic", "payload", "message", "client_id"
        )
        self.missing: object = iot._MISSING

    def topic_filter(self, sql: str) -> str:
        return str(self._iot._rule_topic_filter(sql))

    def select(self, sql: str) -> Expression:
        """The event the actions receive: bytes for a lone `*`, else a JSON object.

        The function raises `UndecodablePayloadError` where `*` is combined with other items and the
        payload is not a JSON object.
        """
        items = self._iot._split_select_items(self._iot._rule_select_clause(sql)) or ["*"]
        whole = False
        fields: list[tuple[str, Expression]] = []
        for item in items:
            text, alias = self._iot._split_select_alias(item)
            if text == "*" and alias is None:
                whole = True
            else:
                key = alias or self._iot._select_default_key(text)
                fields.append((key, self.expression(text)))
        if whole and not fields:
            return _payload
        missing = self.missing

        def event(message: Message) -> dict[str, Any]:
            built: dict[str, Any] = {}
            if whole and message.payload:
                value = message.value(missing)
                if not isinstance(value, dict):
                    raise UndecodablePayloadError("the payload is not a JSON object")
                # The decoded payload is shared by every rule that matches.
                built = value.copy()
            for key, expression in fields:
                result = expression(message)
                if result is not missing:
                    built[key] = result
            return built

        return event

    def where(self, sql: str) -> Callable[[Message], bool] | None:
        predicate = self._iot._rule_where_clause(sql)
        if not predicate:
            return None
        node = self._iot._parse_where(predicate)
        if node is None:
            raise ValueError(f"cannot parse the WHERE clause {predicate!r}")
        evaluate, missing = self._iot._eval_where_node, self.missing

        def holds(message: Message) -> bool:
            with _Identity(self._iot, message):
                verdict = evaluate(
                    node, message.topic, message.payload, message.value(missing), message.client_id
                )
            return verdict is True

        return holds

    def template(self, text: str) -> Expression:
        """A string with `${expression}` parts, which read the message, not the SELECT's result."""
        pieces = _TEMPLATE.split(text)
        if len(pieces) == 1:
            return lambda message: text
        parts = [
            self.expression(piece) if odd % 2 else _constant(piece)
            for odd, piece in enumerate(pieces)
            if piece
        ]
        missing = self.missing

        def fill(message: Message) -> Any:
            values = [part(message) for part in parts]
            if any(value is missing for value in values):
                return missing
            return "".join(value if isinstance(value, str) else _text(value) for value in values)

        return fill

    def expression(self, text: str) -> Expression:
        text = text.strip()
        if text == "*":
            return lambda message: message.value(self.missing)
        if _STRING.match(text):
            return _constant(text[1:-1].replace("''", "'"))
        if _INTEGER.match(text):
            return _constant(int(text))
        if _ATTRIBUTE.match(text):
            return self._attribute(text.split("."))
        function = _FUNCTION.match(text)
        if function:
            built = self._function(function[1].lower(), function[2].strip())
            if built is not None:
                return built
        return self._stock(text)

    def _attribute(self, path: list[str]) -> Expression:
        missing = self.missing

        def attribute(message: Message) -> Any:
            value = message.value(missing)
            for name in path:
                if not isinstance(value, dict):
                    return missing
                value = value.get(name, missing)
            return value

        return attribute

    def _function(self, name: str, argument: str) -> Expression | None:
        """The function if it is one of those compiled here."""
        missing = self.missing
        if name == "topic" and not argument:
            return lambda message: message.topic
        if name == "topic" and argument.isdecimal() and int(argument) > 0:
            index = int(argument) - 1

            def level(message: Message) -> Any:
                levels = message.levels()
                return levels[index] if index < len(levels) else missing

            return level
        if name == "timestamp" and not argument:
            return lambda message: time.time_ns() // 1_000_000
        if name == "newuuid" and not argument:
            return lambda message: str(uuid.uuid4())
        if name == "clientid" and not argument:
            return lambda message: message.client_id or "n/a"
        if name == "encode" and argument.replace(" ", "") == "*,'base64'":
            return lambda message: b64encode(message.payload).decode("ascii")
        return None

    def _stock(self, text: str) -> Expression:
        evaluate, missing = self._iot._eval_select_expr, self.missing

        def stock(message: Message) -> Any:
            with _Identity(self._iot, message):
                return evaluate(
                    text, message.topic, message.payload, message.value(missing), message.client_id
                )

        return stock


class _Identity:
    """What MiniStack's evaluator reads from its context: who published, and the trace id."""

    def __init__(self, iot: Any, message: Message) -> None:
        self._variable = iot._rule_message_identity
        self._message = message

    def __enter__(self) -> None:
        self._token = self._variable.set((self._message.principal, self._message.trace()))

    def __exit__(self, *_: object) -> None:
        self._variable.reset(self._token)


def _payload(message: Message) -> bytes:
    return message.payload


def _constant(value: Any) -> Expression:
    return lambda message: value


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
