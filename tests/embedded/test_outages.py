"""Brokers that freeze, and ports that are left in every state, on the embedded brokers."""

from __future__ import annotations

from tests.embedded.adopt import adopt

KILLED = "the embedded brokers live in this process and keep nothing on disk: they are not killed and started again"
ALARM = "an embedded broker has no alarm of the machine's memory"

globals().update(
    adopt(
        "tests.contract.test_outages",
        without={
            "test_it_comes_back_after_the_broker_was_ended_and_started_again": KILLED,
            "test_a_settle_from_before_the_restart_does_not_acknowledge_what_came_after": KILLED,
            "test_aborting_a_connection_that_a_memory_alarm_blocks_leaves_nothing": ALARM,
            "test_publishing_goes_on_after_a_memory_alarm": ALARM,
        },
    )
)
