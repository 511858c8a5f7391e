"""HTTP answers: JSON with a validator, problem documents, 304. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from aws_lambda_powertools.event_handler import Response

from fleet_sim.contract import Problem
from fleet_sim.contract.http import problem_parts

LIVE_S, STILL_S = 1, 300
"""How long an answer may be kept: of what vehicles change, and of what a deployment changes."""


def ok(
    body: object,
    headers: Mapping[str, str],
    *,
    max_age_s: int = LIVE_S,
    content_type: str = "application/json",
) -> Response[str]:
    """200, or 304 when the request's `If-None-Match` (of its lower-case `headers`) names it."""
    raw = msgspec.json.encode(body)
    etag = f'"{hashlib.blake2b(raw, digest_size=12).hexdigest()}"'
    kept: dict[str, Any] = {"Cache-Control": f"public, max-age={max_age_s}", "ETag": etag}
    if _matches(headers.get("if-none-match", ""), etag):
        return Response(status_code=304, body="", headers=kept)
    return Response(status_code=200, content_type=content_type, body=raw.decode(), headers=kept)


def _matches(asked: str, etag: str) -> bool:
    """Weak comparison (RFC 9110, section 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in asked.split(",")]
    return etag in tags or tags == ["*"]


def problem(document: Problem, **headers: str) -> Response[str]:
    return Response(**problem_parts(document, **headers))
