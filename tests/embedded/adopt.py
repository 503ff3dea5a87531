"""Takes the tests of another module as they are, to be run here on the embedded brokers.

A module that says ``globals().update(adopt("tests.system.test_application"))`` has that module's tests and fixtures; pytest
then finds ``mosquitto``, ``rabbitmq``, ``world`` and so on in this folder's ``conftest.py``, which are embedded.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any


def adopt(name: str, *, without: Mapping[str, str] | None = None, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """All of a test module, or ``only`` some of its tests, or all ``without`` some of them, each with the reason.

    Raises LookupError for a test that is not there, so that a renamed one is not left out or lost unnoticed.
    """
    module = importlib.import_module(name)
    found = {key: value for key, value in vars(module).items() if not key.startswith("__")}
    tests = {key for key, value in found.items() if key.startswith("test_") and inspect.isfunction(value)}
    named = {*(without or {}), *only}
    if not named <= tests:
        raise LookupError(f"{name} has no {', '.join(sorted(named - tests))}")
    left_out = tests - set(only) if only else set(without or {})
    return {key: value for key, value in found.items() if key not in left_out}
