"""Answers that are problem documents (RFC 9457)."""

from __future__ import annotations

from typing import NoReturn

from fleet_sim.contract import Problem


class ProblemError(Exception):
    """Ends a request with a problem document."""

    def __init__(self, status: int, title: str, detail: str = "") -> None:
        super().__init__(detail or title)
        self.problem = Problem(title=title, status=status, detail=detail)


def bad_request(detail: str) -> NoReturn:
    raise ProblemError(400, "Bad request", detail)


def not_found(detail: str) -> NoReturn:
    raise ProblemError(404, "Not found", detail)
