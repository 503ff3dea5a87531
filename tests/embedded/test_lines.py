"""The line between us and an embedded broker: frozen, slow, reset in the middle of a packet."""

from __future__ import annotations

from tests.embedded.adopt import adopt

globals().update(
    adopt(
        "tests.faults.test_lines",
        without={
            "test_a_frozen_broker_is_noticed_and_served_again_when_it_thaws": "an embedded broker cannot be stopped alone"
        },
    )
)
