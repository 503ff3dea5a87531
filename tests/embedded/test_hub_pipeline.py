"""From a sensor to an output, with the hub and the applications as processes, on the embedded brokers."""

from __future__ import annotations

from tests.embedded.adopt import adopt

globals().update(
    adopt(
        "tests.system.test_hub_pipeline",
        # What the others add is the hub's own, whatever the broker.
        only=(
            "test_a_door_event_published_with_mosquitto_pub_reaches_the_siren_application",
            "test_an_event_published_while_the_hub_is_down_is_served_when_it_is_back",
        ),
    )
)
