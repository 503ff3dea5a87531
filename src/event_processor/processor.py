"""The event loop of the hub: takes what was heard, decides, and sends what follows from it to the outputs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

import zmq

from event_processor.domain.actions import Action, Control, control_payload, expires_at
from event_processor.domain.bodies import from_forwarded
from event_processor.domain.decide import Decision, Policy, Reason, decide
from event_processor.domain.devices import Device, seen
from event_processor.domain.events import Event
from pylib import threads
from pylib.brokers.addresses import AddressLike, TlsOptions
from pylib.errors import MessageError
from pylib.handler import exception_handler
from pylib.rabbit import MQConnection, Reconnect
from pylib.zmq import URL_MQTT_PUBLISH, URL_WORKER_APP, Closable

__all__ = ["EventProcessor"]

log = logging.getLogger("event_processor")

# How loud each outcome is. What a device says every few seconds and sets nothing off is for debugging only.
_LEVELS: Final[Mapping[Reason, int]] = {
    Reason.TRIGGERED: logging.INFO,
    Reason.NO_LINK: logging.INFO,
    Reason.OUTPUT_DISABLED: logging.INFO,
    Reason.TOO_OLD: logging.WARNING,
    Reason.FROM_THE_FUTURE: logging.WARNING,
}
# Names come from outside, so there has to be an end to how many are remembered.
MOST_DEVICES: Final = 20_000


class EventProcessor(MQConnection, Closable):
    """Decides what each event sets off, on ``inproc://app-worker``, and alone owns what is known of the devices.

    Control messages go to ``event.control.<output type>`` on the direct exchange ``mq_exchange_name``, commands for
    MQTT devices to ``inproc://mqtt-publish``. Both expire ``policy.control_expiry_s`` seconds after the decision,
    wherever they are by then. One bad message costs that message, never the thread.
    """

    def __init__(
        self,
        mq_server_address: AddressLike,
        mq_exchange_name: str,
        policy: Policy,
        *,
        tls: TlsOptions | None = None,
        reconnect: Reconnect = True,
    ) -> None:
        MQConnection.__init__(
            self,
            mq_server_address=mq_server_address,
            mq_exchange_name=mq_exchange_name,
            mq_exchange_type="direct",
            mq_arguments={"x-message-ttl": int(policy.control_expiry_s * 1000)},
            tls=tls,
            reconnect=reconnect,
        )
        Closable.__init__(self, connect_url=URL_WORKER_APP)
        self._policy = policy
        self._commands = self.get_socket(zmq.PUSH)
        self._commands.connect(URL_MQTT_PUBLISH)
        self._devices: dict[str, Device] = {}

    def run(self) -> None:
        """Take messages until the stop. Everything a message causes is sent before the next one is taken, which is when
        the library lets go of its receipt."""
        with exception_handler(closable=self, and_raise=True):
            while not threads.shutting_down:
                for decision in self._decided(self.socket.recv_pyobj()):
                    log.log(
                        _LEVELS.get(decision.reason, logging.DEBUG),
                        "%s",
                        decision.explanation,
                        extra={"reason": decision.reason.value},
                    )
                    if decision.action is not None:
                        self._send(decision.action)

    def _decided(self, message: object) -> list[Decision]:
        """Everything that follows from a message. Never raises: what cannot be read is set aside, and said once."""
        now = time.time()
        try:
            events = from_forwarded(message, now=now)
            decisions = [decision for event in events for decision in decide(event, self._devices, now, self._policy)]
            for event in events:
                self._remember(event, now)
        except MessageError as error:
            log.warning("A message from %s was set aside: %s", _origin(message), error)
        except Exception as error:  # a fault of ours in one message must not silence all the others
            log.error("A message from %s was set aside: %s", _origin(message), error, exc_info=error)
        else:
            return decisions
        return []

    def _remember(self, event: Event, now: float) -> None:
        if event.device in self._devices or len(self._devices) < MOST_DEVICES:
            self._devices[event.device] = seen(self._devices, event.device, now, event)

    def _send(self, action: Action) -> None:
        if isinstance(action, Control):
            self._basic_publish(routing_key=action.routing_key, event_payload=control_payload(action))
            return
        how: dict[str, Any] = {
            "qos": action.qos,
            "retain": action.retain,
            "created_at": action.created_at,
            "expires_at": expires_at(action),
        }
        self._commands.send_pyobj((action.topic, action.payload, how))


def _origin(message: object) -> str:
    """The name under which a message came, for the log."""
    return repr(next(iter(message), "?")) if isinstance(message, Mapping) else "an unknown source"
