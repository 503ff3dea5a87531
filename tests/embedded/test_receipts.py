"""Nothing is acknowledged to one embedded broker before the other has accepted what came of it."""

from __future__ import annotations

from tests.embedded.adopt import adopt

globals().update(
    adopt(
        "tests.system.test_rabbit_mqtt_receipts",
        without={"test_an_mqtt_delivery_is_acknowledged_after_rabbitmqs_confirm_and_survives_its_death": "it is killed"},
    )
)
