"""Lambda entry point of the HTTP API: routes, DynamoDB calls, headers."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import boto3
import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from botocore.config import Config

from api import logic
from api.logic import ProblemError
from fleet_sim.contract import FleetSummary, Problem
from fleet_sim.contract.tables import SPOTS_BY_CELL, AttributeMap

logger = Logger()
app = APIGatewayHttpResolver()

CELLS_AT_ONCE = 16
"""Queries in flight: a screenful of map in one round trip."""
CELLS_A_PAGE = 256
"""Queries of one request at most: bounds its time however large the box is."""
SUMMARY_S = 1.0
"""How long a summary is served again: it reads both tables from end to end."""


@functools.cache
def _dynamodb() -> Any:
    config = Config(
        connect_timeout=2,
        read_timeout=5,
        max_pool_connections=CELLS_AT_ONCE,
        retries={"total_max_attempts": 3, "mode": "standard"},
        parameter_validation=False,
    )
    return boto3.client("dynamodb", config=config)


_pool = ThreadPoolExecutor(CELLS_AT_ONCE)


def _json(body: msgspec.Struct, max_age_s: int = 1) -> Response[str]:
    return Response(
        status_code=200,
        content_type="application/json",
        body=msgspec.json.encode(body).decode(),
        headers={"Cache-Control": f"public, max-age={max_age_s}"},
    )


def _problem(problem: Problem, **headers: str) -> Response[str]:
    return Response(
        status_code=problem.status,
        content_type="application/problem+json",
        body=msgspec.json.encode(problem).decode(),
        headers={"Cache-Control": "no-store", **headers},
    )


# --- routes ---------------------------------------------------------------------------------------


@app.get("/spots")
def spots_in_box() -> Response[str]:
    query = logic.spot_query(app.current_event.query_string_parameters or {})
    page = logic.Page(query)
    # A large box is mostly empty cells: a page also ends after so many of them.
    for start in range(0, min(len(query.cells), CELLS_A_PAGE), CELLS_AT_ONCE):
        cells = query.cells[start : start + CELLS_AT_ONCE]
        starts = [query.after if start == 0 else "", *[""] * (len(cells) - 1)]
        for cell, items in zip(cells, _pool.map(_cell, cells, starts), strict=True):
            if page.add(cell, items):
                return _json(page.answer())
    rest = query.cells[CELLS_A_PAGE:]
    return _json(page.answer(next_cell=rest[0] if rest else None))


@app.get("/spots/<spot_id>")
def spot_by_id(spot_id: str) -> Response[str]:
    item = _item(os.environ["SPOTS_TABLE"], "id", logic.spot_id(spot_id))
    if item is None:
        logic.not_found(f"there is no spot {spot_id}")
    return _json(logic.spot(item))


@app.get("/vehicles/<vin>")
def vehicle_by_vin(vin: str) -> Response[str]:
    item = _item(os.environ["VEHICLES_TABLE"], "vin", logic.spot_id(vin))
    if item is None:
        logic.not_found(f"nothing was heard of vehicle {vin}")
    return _json(logic.vehicle(item))


@app.get("/fleet/summary")
def fleet_summary() -> Response[str]:
    return _json(_summary(int(time.monotonic() / SUMMARY_S)))


@functools.lru_cache(maxsize=1)
def _summary(_period: int) -> FleetSummary:
    # A Scan reads both tables from end to end. It is good for some ten thousand items; beyond that
    # the counts have to be kept as they change.
    vehicles = _scan(os.environ["VEHICLES_TABLE"], "state")
    spots = _scan(os.environ["SPOTS_TABLE"], "belief")
    return logic.summary(vehicles, spots, int(time.time() * 1e3))


# --- errors ---------------------------------------------------------------------------------------


@app.exception_handler(ProblemError)  # type: ignore[untyped-decorator]
def problem_answer(error: ProblemError) -> Response[str]:
    return _problem(error.problem)


@app.not_found
def no_route(_: NotFoundError) -> Response[str]:
    method, path = app.current_event.http_method, app.current_event.path
    # Powertools knows no 405: a path that answers GET exists, and this method is not its.
    if method != "GET" and any(
        route.rule.match(path) for route in app._static_routes + app._dynamic_routes
    ):
        return _problem(
            Problem("Method not allowed", 405, f"{path} does not take {method} (allowed: GET)"),
            Allow="GET",
        )
    return _problem(Problem("Not found", 404, f"there is nothing at {path}"))


@app.exception_handler(Exception)  # type: ignore[untyped-decorator]
def unexpected(error: Exception) -> Response[str]:
    logger.exception("unexpected error", exc_info=error)
    return _problem(Problem(HTTPStatus(500).phrase, 500, "the error was logged"))


# --- DynamoDB -------------------------------------------------------------------------------------


def _item(table: str, key: str, value: str) -> AttributeMap | None:
    answer = _dynamodb().get_item(TableName=table, Key={key: {"S": value}})
    item: AttributeMap | None = answer.get("Item")
    return item


def _cell(cell: str, after: str) -> list[AttributeMap]:
    """Items of one H3 cell, by id; those after `after` when it is given."""
    request: dict[str, Any] = {
        "TableName": os.environ["SPOTS_TABLE"],
        "IndexName": SPOTS_BY_CELL,
        "KeyConditionExpression": "cell = :cell",
        "ExpressionAttributeValues": {":cell": {"S": cell}},
    }
    if after:
        request["KeyConditionExpression"] += " AND id > :after"
        request["ExpressionAttributeValues"][":after"] = {"S": after}
    return list(_pages(_dynamodb().query, request))


def _scan(table: str, attribute: str) -> Iterator[AttributeMap]:
    request = {
        "TableName": table,
        "ProjectionExpression": "#a",
        "ExpressionAttributeNames": {"#a": attribute},
    }
    return _pages(_dynamodb().scan, request)


def _pages(call: Any, request: dict[str, Any]) -> Iterator[AttributeMap]:
    while True:
        answer = call(**request)
        yield from answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    answer: dict[str, Any] = app.resolve(event, context)
    logger.info(
        "request",
        method=event.get("requestContext", {}).get("http", {}).get("method"),
        path=event.get("rawPath"),
        status=answer.get("statusCode"),
    )
    return answer
