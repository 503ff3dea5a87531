"""A hundred thousand retained messages at a connect."""

from __future__ import annotations

import pytest

from pylib.runtime.runtime import Runtime
from pylib.testing.plugin import MosquittoFactory
from tests.faults.test_retained import MEBIBYTE, flood

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]


def test_a_hundred_thousand_retained_messages_are_marked_and_memory_stays_bounded(
    runtime: Runtime, mosquitto_factory: MosquittoFactory
) -> None:
    flood(runtime, mosquitto_factory, 100_000, 64 * MEBIBYTE)
