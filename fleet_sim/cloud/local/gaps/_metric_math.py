"""CloudWatch metric maths over series of periods: as much of it as templates here use.

A series maps the number of a period (its start divided by its length) to a value. Arithmetic of
two series exists where both have a value, and a division by zero leaves no value (CloudWatch User
Guide, "Using metric math"). Functions: SUM, AVG, MAX and MIN over an array of series (of a period,
what is missing is left out) and FILL(series, number).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Series = dict[int, float]
Value = Series | float

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "SUM": sum,
    "AVG": lambda values: sum(values) / len(values),
    "MAX": max,
    "MIN": min,
}


class ExpressionError(ValueError):
    """The expression is not one that is understood here; the message says what it is."""


def check(expression: str) -> None:
    """Raises `ExpressionError` for an expression that `evaluate` would not take."""
    names = {node.id for node in ast.walk(_parse(expression)) if isinstance(node, ast.Name)}
    metrics = names - {*_AGGREGATES, "FILL", "METRICS"}
    evaluate(expression, {name: {} for name in metrics}, range(0))


def evaluate(expression: str, series: Mapping[str, Series], periods: Sequence[int]) -> Series:
    """The expression's series. `series`: metric id → series; `periods`: those that FILL fills."""
    value = _evaluate(_parse(expression), series, periods)
    if not isinstance(value, dict):
        raise ExpressionError(f"{expression!r} is a number, not a time series")
    return value


def _parse(expression: str) -> ast.expr:
    try:
        # Their power sign is Python's exclusive or, which binds differently.
        return ast.parse(expression.strip().replace("^", "**"), mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(f"{expression!r} is no metric maths: {error.msg}") from None


def _evaluate(node: ast.expr, series: Mapping[str, Series], periods: Sequence[int]) -> Value:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name):
        if node.id not in series:
            raise ExpressionError(f"there is no metric {node.id!r}")
        return series[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _combine(operator.mul, -1.0, _evaluate(node.operand, series, periods))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left = _evaluate(node.left, series, periods)
        right = _evaluate(node.right, series, periods)
        return _combine(_OPERATORS[type(node.op)], left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node.func.id, node.args, series, periods)
    raise ExpressionError(f"{ast.unparse(node)} is not understood by the local AWS")


def _call(
    name: str, arguments: list[ast.expr], series: Mapping[str, Series], periods: Sequence[int]
) -> Series:
    if name == "FILL" and len(arguments) == 2:
        filled, with_ = (_evaluate(argument, series, periods) for argument in arguments)
        if isinstance(filled, dict) and isinstance(with_, float):
            return {**dict.fromkeys(periods, with_), **filled}
    elif name in _AGGREGATES and len(arguments) == 1:
        (argument,) = arguments
        rows: Any = None
        if isinstance(argument, ast.List):
            rows = [_evaluate(element, series, periods) for element in argument.elts]
        elif isinstance(argument, ast.Call) and ast.unparse(argument) == "METRICS()":
            rows = list(series.values())
        if rows is not None and all(isinstance(row, dict) for row in rows):
            keys = sorted({period for row in rows for period in row})
            return {k: _AGGREGATES[name]([row[k] for row in rows if k in row]) for k in keys}
    raise ExpressionError(f"{name} is not understood by the local AWS with these arguments")


def _combine(apply: Callable[[float, float], float], left: Value, right: Value) -> Value:
    def one(a: float, b: float) -> float | None:
        try:
            return apply(a, b)
        except (ZeroDivisionError, OverflowError):
            return None

    if not isinstance(left, dict) and not isinstance(right, dict):
        value = one(left, right)
        if value is None:
            raise ExpressionError("a number is divided by zero")
        return value
    if not isinstance(left, dict):
        assert isinstance(right, dict)
        pairs = {key: one(left, value) for key, value in right.items()}
    elif not isinstance(right, dict):
        pairs = {key: one(value, right) for key, value in left.items()}
    else:
        pairs = {key: one(left[key], right[key]) for key in left.keys() & right.keys()}
    return {key: value for key, value in pairs.items() if value is not None}
