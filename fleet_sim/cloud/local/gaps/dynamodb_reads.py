"""What a page of DynamoDB's Query and Scan costs.

AWS: an expression is parsed once a request; reading costs by the kilobyte.

Stock MiniStack: finds an index's partition at once, but then checks the grammar of the condition,
works out the index's projection, and takes numbers apart to measure them, anew for each item: 35 µs
an item of five attributes. A screenful of map holds hundreds, and whoever else talks to this AWS
waits meanwhile.

Closed by: expressions are parsed once, projections once a request and set of attributes, numbers
measured once; pages are encoded by msgspec. What is found, and how errors are worded, stays
MiniStack's: an expression that is not simply true or false is handed on to it.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import msgspec

from fleet_sim.cloud.local.gaps import _seam

_EXPRESSIONS = 4096
_NUMBERS = 65_536

Token = tuple[str, str]


class _Request(threading.local):
    """The Query or Scan that this thread is answering: its projections, by attributes."""

    kept: dict[tuple[str, ...], tuple[str, ...]] | None = None


def apply() -> None:
    service = _seam.service("dynamodb")
    _seam.expect(service, "_ExprEval", "_check_redundant_parens", "_check_reserved_keyword_usage",
                 "_condition_syntax_error")  # fmt: skip
    _seam.expect_parameters(service._tokenize, "expr")
    _seam.expect_parameters(service._number_size_bytes, "text")
    _seam.expect_parameters(
        service._evaluate_condition, "expr", "item", "attr_values", "attr_names", "slot"
    )
    _seam.expect_parameters(service._apply_index_projection, "item", "table", "index_name")
    _seam.expect_parameters(service.json_response, "data", "status")
    _parse_once(service)
    _project_once(service)
    service._number_size_bytes = functools.lru_cache(_NUMBERS)(service._number_size_bytes)
    _encode_fast(service)


def _parse_once(service: Any) -> None:
    stock_tokenize, stock_evaluate = service._tokenize, service._evaluate_condition

    @functools.lru_cache(_EXPRESSIONS)
    def tokenize(expr: str) -> tuple[Token, ...]:
        # Shared by all that ask: nobody may change it.
        return tuple(stock_tokenize(expr))

    @functools.lru_cache(_EXPRESSIONS)
    def understood(expr: str, slot: str) -> tuple[tuple[Token, ...], tuple[str, str] | None] | None:
        """Its tokens, and (attribute, value) when it is `attribute = :value`; None when it is not
        well-formed, or has bounds that have to be compared first."""
        tokens = tokenize(expr)
        if (
            service._check_redundant_parens(tokens, slot)
            or service._check_reserved_keyword_usage(tokens)
            or service._condition_syntax_error(expr, slot)
            or any(kind == "IDENT" and text.upper() == "BETWEEN" for kind, text in tokens)
        ):
            return None
        equality = [kind for kind, _ in tokens] == ["IDENT", "EQ", "VALUE_REF", "EOF"]
        return tokens, (tokens[0][1], tokens[2][1]) if equality else None

    def evaluate(
        expr: str, item: Any, attr_values: Any, attr_names: Any, slot: str = "ConditionExpression"
    ) -> Any:
        try:
            parsed = understood(expr, slot) if expr and expr.strip() else None
            if parsed is not None:
                tokens, equality = parsed
                # The usual condition of a key, true of all that an index's partition holds.
                if equality and item.get(equality[0], item) == attr_values.get(equality[1]):
                    return True
                return service._ExprEval(tokens, item, attr_values, attr_names).evaluate()
        except Exception:  # noqa: BLE001, S110 - raised again below, as MiniStack words it
            pass
        return stock_evaluate(expr, item, attr_values, attr_names, slot)

    service._tokenize, service._evaluate_condition = tokenize, evaluate


def _project_once(service: Any) -> None:
    stock_project = service._apply_index_projection
    request = _Request()

    def project(item: dict[str, Any], table: Any, index_name: str | None) -> dict[str, Any]:
        if request.kept is None or not index_name:
            found: dict[str, Any] = stock_project(item, table, index_name)
            return found
        attributes = tuple(item)
        kept = request.kept.get(attributes)
        if kept is None:
            kept = tuple(stock_project(dict.fromkeys(attributes), table, index_name))
            request.kept[attributes] = kept
        return item if len(kept) == len(attributes) else {name: item[name] for name in kept}

    def remembering(answer: Any) -> Any:
        @functools.wraps(answer)
        def answering(data: Any) -> Any:
            # A request reads one index, so its projections are those of this index.
            request.kept = {}
            try:
                return answer(data)
            finally:
                request.kept = None

        return answering

    service._apply_index_projection = project
    service._query, service._scan = remembering(service._query), remembering(service._scan)


def _encode_fast(service: Any) -> None:
    stock_respond = service.json_response

    def respond(data: dict[str, Any], status: int = 200, **how: Any) -> tuple[int, Any, bytes]:
        # Items came as JSON: there is nothing in them that the two encoders write differently.
        if "Items" not in data:
            answer: tuple[int, Any, bytes] = stock_respond(data, status, **how)
            return answer
        status, headers, _ = stock_respond({}, status, **how)
        return status, headers, msgspec.json.encode(data)

    service.json_response = respond
