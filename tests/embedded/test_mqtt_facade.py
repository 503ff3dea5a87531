"""``MqttSubscriber`` on the embedded MQTT broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import paho.mqtt.client as paho
import pytest

from tests.embedded.adopt import adopt
from tests.system.test_mqtt_facade import Watcher

MQTT_5 = "a matter of MQTT 5, which the embedded broker does not speak"

globals().update(
    adopt(
        "tests.system.test_mqtt_facade",
        without={
            "test_a_message_keeps_what_travels_beside_it_and_expires_in_the_broker": MQTT_5,
            "test_tls_with_a_private_authority_user_password_and_permissions": "the embedded broker serves no TLS",
            "test_a_publish_that_the_broker_forbids_is_named": "the embedded broker has no lists of permissions",
            "test_the_pings_go_on_while_every_pipe_is_idle": "reads Mosquitto's log; test_outages has an idle connection too",
        },
    )
)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watcher]]:
    """Watchers that speak 3.1.1."""
    made: list[Watcher] = []

    def make(broker: Any, topics: str | Sequence[str] = "#") -> Watcher:
        made.append(Watcher(broker, topics, version=paho.MQTTv311))
        return made[-1]

    yield make
    while made:
        made.pop().close()
