"""A few thousand mutated frames in every run; `python -m tests.fuzz.amqp` sends 200,000."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.amqp.core_run import CoreFuzz
from tests.fuzz.amqp.socket_run import fuzz_socket

FRAMES = int(os.environ.get("FUZZ_FRAMES", "4000"))


@pytest.mark.parametrize("seed", [1, 2])
def test_no_mutated_frame_crashes_or_hangs_a_session(seed: int) -> None:
    report = CoreFuzz(seed).run(FRAMES)
    # The mutator is worth something only while most of what it makes is read at all.
    assert report.endings.get("still open", 0) > 0
    assert sum(count for ending, count in report.endings.items() if ending.startswith(("closed", "ended"))) > 0


def test_no_mutated_frame_crashes_or_hangs_the_server() -> None:
    report = fuzz_socket(3, max(600, FRAMES // 6))
    assert any(ending.startswith("closed") for ending in report.endings)
