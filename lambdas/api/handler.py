"""Lambda entry point of the HTTP API: routes, and what they read."""

from __future__ import annotations

import functools
import time
from itertools import repeat
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from botocore.exceptions import BotoCoreError, ClientError

from api import answers, cells, items, openapi, queries, store
from api.parameters import refuse_others
from api.problems import ProblemError, not_found
from api.queries import BoxQuery, NearQuery
from fleet_sim.contract import FleetSummary, Health, Problem, SpotPage, VehiclePage, counters
from fleet_sim.contract.http import UNEXPECTED, request_line
from fleet_sim.contract.trends import ALL_STREETS

logger = Logger()
app = APIGatewayHttpResolver()

CELLS_A_PAGE = 256
"""Queries of one request at most: bounds its time however large the box is."""
FADE_S = 10.0
"""Beliefs fade in steps of this: 0.4 % of what is left of them."""
SUMMARY_S = 1.0
"""How long a summary is served again."""


def _given() -> dict[str, str]:
    return app.current_event.query_string_parameters or {}


def _now_ms() -> float:
    """Now, in steps: beliefs fade all the time, and an answer that is nearly the same should be the
    same to who has it already."""
    return time.time() // FADE_S * FADE_S * 1e3


def _ok(body: object, **how: Any) -> Response[str]:
    return answers.ok(body, app.current_event.headers, **how)


# --- spots ----------------------------------------------------------------------------------------


@app.get("/spots")
def spots() -> Response[str]:
    query = queries.spot_query(_given())
    return _ok(_near(query) if isinstance(query, NearQuery) else _box(query))


def _box(query: BoxQuery) -> SpotPage:
    page = items.Page(query, _now_ms())
    stalls = store.city.get().stalls
    unlike = items.unlike(query.wanted)
    left = [cell for cell in query.cells if stalls is None or cell in stalls]
    # A large box may be mostly empty cells: a page also ends after so many of them.
    left, rest = left[:CELLS_A_PAGE], left[CELLS_A_PAGE:]
    while left:
        # How many spots are wanted of a cell is not known when only some are.
        size = cells.enough(left, None if unlike else stalls, page.missing)
        now, left = left[:size], left[size:]
        starts = [query.after if cell == query.cells[0] else "" for cell in now]
        for cell, found in zip(
            now, store.pool.map(store.cell, now, starts, repeat(unlike)), strict=True
        ):
            if page.add(cell, found):
                return page.answer()
    return page.answer(next_cell=rest[0] if rest else None)


def _near(query: NearQuery) -> SpotPage:
    """The nearest cells first, until what is found is nearer than anything in the others."""
    walks, stalls = store.city.get()
    nearest = items.Nearest(query, _now_ms(), walks)
    unlike = items.unlike(query.wanted)
    for ring in cells.rounds(cells.by_distance(query, stalls)):
        if nearest.complete(ring[0].least_m):
            break
        names = [near.cell for near in ring]
        for name, found in zip(
            names, store.pool.map(store.cell, names, repeat(""), repeat(unlike)), strict=True
        ):
            nearest.add(name, found)
    return nearest.answer()


@app.get("/spots/<spot_id>")
def spot_by_id(spot_id: str) -> Response[str]:
    refuse_others(_given(), ())
    item = store.item("SPOTS_TABLE", "id", queries.SPOT_ID.text(spot_id))
    if item is None:
        not_found(f"there is no spot {spot_id}")
    return _ok(items.spot_detail(item, _now_ms()))


@app.get("/streets")
def streets() -> Response[str]:
    refuse_others(_given(), ())
    walks = store.city.get().walks
    if walks is None:
        not_found("no street network is deployed")
    return _ok(walks.geojson(), max_age_s=answers.STILL_S, content_type="application/geo+json")


# --- fleet ----------------------------------------------------------------------------------------


@app.get("/vehicles")
def vehicles() -> Response[str]:
    query = queries.vehicles_query(_given())
    found, last = store.vehicles(query.limit, query.after)
    token = queries.write_token(queries.VehicleCursor(last)) if last else None
    return _ok(VehiclePage([items.vehicle(item) for item in found], token))


@app.get("/vehicles/<vin>")
def vehicle_by_vin(vin: str) -> Response[str]:
    refuse_others(_given(), ())
    item = store.item("VEHICLES_TABLE", "vin", queries.VIN.text(vin))
    if item is None:
        not_found(f"nothing was heard of vehicle {vin}")
    return _ok(items.vehicle(item))


@app.get("/fleet/summary")
def fleet_summary() -> Response[str]:
    refuse_others(_given(), ())
    return _ok(_summary(int(time.monotonic() / SUMMARY_S)))


@functools.lru_cache(maxsize=1)
def _summary(_period: int) -> FleetSummary:
    now_ms = int(time.time() * 1e3)
    return counters.summary(store.counts(now_ms), now_ms)


# --- trends ---------------------------------------------------------------------------------------


@app.get("/trends")
def trends() -> Response[str]:
    refuse_others(_given(), ())
    item = store.item("TRENDS_TABLE", "street", ALL_STREETS)
    if item is None:
        not_found("nothing was counted yet")
    return _ok(items.trend_index(item), max_age_s=answers.STILL_S)


@app.get("/trends/street")
def street_trend() -> Response[str]:
    name = queries.street_name(_given())
    item = store.item("TRENDS_TABLE", "street", name) if name != ALL_STREETS else None
    if item is None:
        not_found(f"there is no trend of {name}")
    return _ok(items.street_trend(item), max_age_s=answers.STILL_S)


# --- the API itself -------------------------------------------------------------------------------


@app.get("/health")
def health() -> Response[str]:
    refuse_others(_given(), ())
    try:
        store.item("SPOTS_TABLE", "id", "-")
        store.item("VEHICLES_TABLE", "vin", "-")
    except (ClientError, BotoCoreError) as error:
        logger.exception("a table does not answer", exc_info=error)
        raise ProblemError(503, "Service unavailable", "a table does not answer") from error
    return _ok(Health())


@app.get("/openapi.json")
def openapi_document() -> Response[str]:
    refuse_others(_given(), ())
    return _ok(openapi.document(), max_age_s=answers.STILL_S)


# --- errors ---------------------------------------------------------------------------------------


@app.exception_handler(ProblemError)  # type: ignore[untyped-decorator]
def problem_answer(error: ProblemError) -> Response[str]:
    return answers.problem(error.problem)


@app.not_found
def no_route(_: NotFoundError) -> Response[str]:
    method, path = app.current_event.http_method, app.current_event.path
    # Powertools knows no 405: a path that answers GET exists, and this method is not its.
    if method != "GET" and any(
        route.rule.match(path) for route in app._static_routes + app._dynamic_routes
    ):
        return answers.problem(
            Problem("Method not allowed", 405, f"{path} does not take {method} (allowed: GET)"),
            Allow="GET",
        )
    return answers.problem(Problem("Not found", 404, f"there is nothing at {path}"))


@app.exception_handler(Exception)  # type: ignore[untyped-decorator]
def unexpected(error: Exception) -> Response[str]:
    logger.exception("unexpected error", exc_info=error)
    return answers.problem(UNEXPECTED)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    answer: dict[str, Any] = app.resolve(event, context)
    logger.info("request", **request_line(event, answer))
    return answer
