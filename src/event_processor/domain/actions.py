"""What the hub does: a control message to an output application on RabbitMQ, or a command to a device over MQTT."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from event_processor.domain.events import Event

__all__ = ["Action", "Command", "Control", "control_payload", "expires_at"]


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """A control message for the applications that drive outputs of type ``output_type``.

    ``output`` is the output's key; ``created_at`` is in seconds since the epoch. Past ``expires_after_s`` seconds from
    then it must not be delivered any more: a siren that sounds an hour late is worse than one that stays quiet.
    """

    output_type: str
    output: str
    label: str
    event: Event
    created_at: float
    expires_after_s: float = 90.0
    params: str | None = None

    def __repr__(self) -> str:
        """Without ``params``, which may hold an address with a password (a camera's do)."""
        return f"Control({self.routing_key!r}, output={self.output!r}, device={self.event.device!r})"

    @property
    def routing_key(self) -> str:
        """``event.control.<output type>``, on the exchange ``<mq_exchange>_control``."""
        return f"event.control.{self.output_type}"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A message for a device over MQTT; ``created_at`` and ``expires_after_s`` as for ``Control``."""

    topic: str
    payload: str
    output: str
    created_at: float
    expires_after_s: float = 90.0
    qos: int = 1
    retain: bool = False


Action: TypeAlias = Control | Command


def expires_at(action: Action) -> float:
    """Return the moment, in seconds since the epoch, from which ``action`` must not be delivered any more."""
    return action.created_at + action.expires_after_s


def control_payload(control: Control) -> dict[str, object]:
    """Build the body of a control message, for MessagePack: when, which input, and which output it sets off."""
    event = control.event
    return {
        "timestamp": int(control.created_at),
        "active_input": {
            "device_key": event.device,
            "type": event.type,
            "label": event.label,
            "active": event.active,
            "sample_value": event.value,
            "event_detail": event.detail,
            "timestamp": int(event.created_at),
        },
        "output_triggered": {
            "device_key": control.output,
            "type": control.output_type,
            "label": control.label,
            "params": control.params,
        },
    }
