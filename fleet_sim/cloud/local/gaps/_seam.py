"""The only door to MiniStack: it is untyped, so everything that comes through here is `Any`.

A gap module says which of MiniStack's names it replaces or relies on, and stops the start with a
clear message when one is missing, because a correction that silently corrects nothing is worse
than none.
"""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import version
from typing import Any

WRITTEN_FOR = "1.5.33"


class GapError(RuntimeError):
    """MiniStack is not what a gap module was written for."""


def service(name: str) -> Any:
    """MiniStack's module of one AWS service, e.g. `iot` or `cloudformation.provisioners`."""
    return importlib.import_module(f"ministack.services.{name}")


def core(name: str) -> Any:
    return importlib.import_module(f"ministack.core.{name}")


def application() -> Any:
    """MiniStack's ASGI module; `app` in it is the application."""
    return importlib.import_module("ministack.app")


def expect(owner: Any, *names: str) -> None:
    """Raises `GapError` unless `owner` (a module or class) has every one of `names`."""
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        raise GapError(
            f"{owner.__name__} of ministack {version('ministack')} has no {', '.join(missing)}; "
            f"this correction was written for {WRITTEN_FOR}"
        )


def expect_parameters(function: Any, *names: str) -> None:
    """Raises `GapError` unless `function` takes parameters of these names, in this order."""
    found = list(inspect.signature(function).parameters)
    if found[: len(names)] != list(names):
        raise GapError(
            f"{function.__qualname__} of ministack {version('ministack')} takes "
            f"({', '.join(found)}), not ({', '.join(names)}, ...); "
            f"this correction was written for {WRITTEN_FOR}"
        )
