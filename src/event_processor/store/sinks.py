"""Where steps go once they are stored: one pipe per kind, and what is sent down it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from event_processor.domain.outcome import Step
from pylib.zmq import URL_MQTT_PUBLISH, URL_RABBIT_MQ_PUBLISHER

__all__ = ["URL_NOTIFY", "URL_STORE", "Sink", "broker_message", "default_sinks"]

URL_STORE: Final = "inproc://store"
URL_NOTIFY: Final = "inproc://notify"


@dataclass(frozen=True, slots=True)
class Sink:
    """The pipe at ``url``, and how a step looks on it."""

    url: str
    encode: Callable[[Step], object]


def broker_message(step: Step) -> tuple[str, object, dict[str, Any]]:
    """(address, body, how), as the pipes of the MQTT subscriber and of the RabbitMQ relay take it.

    The message's id is the step's, so that whoever receives it twice can tell.
    """
    how: dict[str, Any] = {
        "message_id": step.id,
        "created_at": step.at,
        "expires_at": step.expires_at,
        "qos": step.qos,
        "retain": step.retain,
    }
    return step.address, step.body, how


def default_sinks() -> Mapping[str, Sink]:
    """Commands to the MQTT subscriber, control messages to the RabbitMQ relay, notifications (as steps) to the notifier."""
    return {
        "command": Sink(URL_MQTT_PUBLISH, broker_message),
        "control": Sink(URL_RABBIT_MQ_PUBLISHER, broker_message),
        "notify": Sink(URL_NOTIFY, lambda step: step),
    }
