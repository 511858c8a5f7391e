"""How an HTTP answer ends, whichever function gives it: its parts, and the log's line."""

from typing import Any, TypedDict

import msgspec

from fleet_sim.contract.api import Problem

UNEXPECTED = Problem("Internal Server Error", 500, "the error was logged")
"""What a caller hears of an error of ours."""


class Parts(TypedDict):
    """Keyword arguments of a framework's response."""

    status_code: int
    content_type: str
    body: str
    headers: dict[str, Any]


def fresh_parts(body: object, status: int = 200, kind: str = "json", **headers: str) -> Parts:
    """Of an answer that nobody may keep. `kind`: of `application/…`."""
    return Parts(
        status_code=int(status),
        content_type=f"application/{kind}",
        body=msgspec.json.encode(body).decode(),
        headers={"Cache-Control": "no-store", **headers},
    )


def problem_parts(problem: Problem, **headers: str) -> Parts:
    return fresh_parts(problem, problem.status, "problem+json", **headers)


def request_line(event: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """What the log says of a request. `event`: of API Gateway's payload format 2.0."""
    return {
        "method": event.get("requestContext", {}).get("http", {}).get("method"),
        "path": event.get("rawPath"),
        "status": answer.get("statusCode"),
    }
