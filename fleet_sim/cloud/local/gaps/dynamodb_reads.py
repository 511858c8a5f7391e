"""What a page of DynamoDB's Query and Scan costs.

AWS: an expression is parsed once a request; reading costs by the kilobyte.

Stock MiniStack: finds an index's partition at once, but then checks the grammar of the condition,
works out the index's projection, and takes numbers apart to measure them, anew for each item: 35 µs
an item of five attributes. A screenful of map holds hundreds, and whoever else talks to this AWS
waits meanwhile.

Closed by: expressions are parsed once, projections once a request and set of attributes; items are
measured only where a page may be full; pages are encoded by msgspec: 5 µs an item. What is found,
and how errors are worded, stays MiniStack's: what takes more than comparing two texts is handed on
to it.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, NamedTuple

import msgspec

from fleet_sim.cloud.local.gaps import _seam

_EXPRESSIONS = 4096
_ITEMS = 4096
"""More are measured one by one: with a few that fill a page among them, all would be encoded for
each page."""

Token = tuple[str, str]

_EQUALITY = ["IDENT", "EQ", "VALUE_REF"]
_CONTAINS = ["IDENT", "LPAREN", "IDENT", "COMMA", "VALUE_REF", "RPAREN"]


class Clause(NamedTuple):
    """`attribute = :value` or `[NOT] contains(attribute, :value)`."""

    attribute: str
    value: str
    contains: bool = False
    negated: bool = False


class Parsed(NamedTuple):
    tokens: tuple[Token, ...]
    clauses: tuple[Clause, ...]
    """When it is nothing but such clauses, joined by AND."""


class _Request(threading.local):
    """The Query or Scan that this thread is answering: its projections, by attributes."""

    kept: dict[tuple[str, ...], tuple[str, ...]] | None = None


def apply() -> None:
    service = _seam.service("dynamodb")
    _seam.expect(service, "_ExprEval", "_check_redundant_parens", "_check_reserved_keyword_usage",
                 "_condition_syntax_error")  # fmt: skip
    _seam.expect_parameters(service._tokenize, "expr")
    _seam.expect(service, "_DDB_PAGE_SIZE_BYTES")
    _seam.expect_parameters(
        service._paginate_evaluated_items, "items", "limit", "table", "index_name"
    )
    _seam.expect_parameters(
        service._evaluate_condition, "expr", "item", "attr_values", "attr_names", "slot"
    )
    _seam.expect_parameters(service._apply_index_projection, "item", "table", "index_name")
    _seam.expect_parameters(service.json_response, "data", "status")
    _parse_once(service)
    _project_once(service)
    _measure_seldom(service)
    _encode_fast(service)


def _parse_once(service: Any) -> None:
    stock_tokenize, stock_evaluate = service._tokenize, service._evaluate_condition

    @functools.lru_cache(_EXPRESSIONS)
    def tokenize(expr: str) -> tuple[Token, ...]:
        # Shared by all that ask: nobody may change it.
        return tuple(stock_tokenize(expr))

    @functools.lru_cache(_EXPRESSIONS)
    def understood(expr: str, slot: str) -> Parsed | None:
        """None when it is not well-formed, or has bounds that have to be compared first."""
        tokens = tokenize(expr)
        if (
            service._check_redundant_parens(tokens, slot)
            or service._check_reserved_keyword_usage(tokens)
            or service._condition_syntax_error(expr, slot)
            or any(kind == "IDENT" and text.upper() == "BETWEEN" for kind, text in tokens)
        ):
            return None
        return Parsed(tokens, _clauses(tokens))

    def evaluate(
        expr: str, item: Any, attr_values: Any, attr_names: Any, slot: str = "ConditionExpression"
    ) -> Any:
        try:
            parsed = understood(expr, slot) if expr and expr.strip() else None
            if parsed is not None:
                holds = _hold(parsed.clauses, item, attr_values) if parsed.clauses else None
                if holds is not None:
                    return holds
                return service._ExprEval(parsed.tokens, item, attr_values, attr_names).evaluate()
        except Exception:  # noqa: BLE001, S110 - raised again below, as MiniStack words it
            pass
        return stock_evaluate(expr, item, attr_values, attr_names, slot)

    service._tokenize, service._evaluate_condition = tokenize, evaluate


def _clauses(tokens: tuple[Token, ...]) -> tuple[Clause, ...]:
    """Empty when there is anything else in it."""
    found = []
    words = [("END" if token == ("IDENT", "AND") else token[0], token[1]) for token in tokens]
    while words:
        end = next(k for k, (kind, _) in enumerate(words) if kind in ("END", "EOF"))
        clause, words = words[:end], words[end + 1 :]
        if negated := clause[:1] == [("IDENT", "NOT")]:
            del clause[0]
        kinds = [kind for kind, _ in clause]
        if kinds == _EQUALITY and not negated:
            found.append(Clause(clause[0][1], clause[2][1]))
        elif kinds == _CONTAINS and clause[0][1] == "contains":
            found.append(Clause(clause[2][1], clause[4][1], True, negated))
        else:
            return ()
    return tuple(found)


def _hold(clauses: tuple[Clause, ...], item: Any, values: Any) -> bool | None:
    """Whether all of them do; None when that takes more than comparing texts."""
    for clause in clauses:
        has, value = item.get(clause.attribute), values.get(clause.value)
        if not clause.contains:
            # What is equal is equal; what differs may be the same number.
            if has is None or has != value:
                return None
        elif has is None or value is None or "S" not in has or "S" not in value:
            return None
        elif (value["S"] in has["S"]) is clause.negated:
            return False
    return True


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


def _measure_seldom(service: Any) -> None:
    stock_paginate = service._paginate_evaluated_items

    def paginate(
        items: Any, limit: Any, table: Any, index_name: str | None = None
    ) -> tuple[list[Any], bool]:
        page = items if limit is None else items[: int(limit)]
        # No item is larger than its JSON: what is small as JSON ends no page.
        if len(page) > _ITEMS or len(msgspec.json.encode(page)) >= service._DDB_PAGE_SIZE_BYTES:
            found: tuple[list[Any], bool] = stock_paginate(items, limit, table, index_name)
            return found
        return page, limit is not None and len(page) >= int(limit)

    service._paginate_evaluated_items = paginate


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
