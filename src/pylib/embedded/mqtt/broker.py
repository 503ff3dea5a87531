"""The broker's state: sessions, subscriptions and retained messages. Plain objects without sockets or time, for one thread."""

from __future__ import annotations

import logging
import secrets
from typing import Final

from pylib.embedded.mqtt.limits import Budget, MqttLimits
from pylib.embedded.mqtt.session import Line, Session
from pylib.embedded.mqtt.topics import Subscriptions, matches, shared_group
from pylib.embedded.mqtt.wire import FAILURE, Connect, Message

__all__ = ["Broker"]

log = logging.getLogger("pylib.embedded")

_RESERVED: Final = "$SYS"


class Broker:
    """Takes messages and hands them to whoever subscribed. Owned by the server's thread."""

    def __init__(self, limits: MqttLimits) -> None:
        self.limits = limits
        self.budget = Budget(limits.held_bytes)
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, Message] = {}
        self._subscriptions: Subscriptions[Session] = Subscriptions()
        self._turn = 0
        self._dropped = 0
        self._told_full = False

    @property
    def dropped(self) -> int:
        """Messages that did not fit in a queue so far."""
        return self._dropped + sum(session.dropped for session in self.sessions.values())

    # -- sessions ----------------------------------------------------------------------------------------------------

    def open_session(self, connect: Connect, client_id: str) -> tuple[Session, bool] | None:
        """The session of a client that connects, and whether it was there before (section 3.1.2.4). None: no room.

        A connection that the session has is ended first, its last will published (sections 3.1.2.5 and 3.1.4).
        """
        old = self.sessions.get(client_id)
        if old is not None and old.line is not None:
            old.line.end("another client has connected with its client id")
            old = self.sessions.get(client_id)  # a clean one ended with its connection
        if old is not None and connect.clean:
            self.end_session(old)
            old = None
        if old is not None:
            return old, True
        if len(self.sessions) >= self.limits.sessions:
            log.warning("MQTT client %r is refused: there are %d sessions already.", client_id, len(self.sessions))
            return None
        session = Session(client_id, connect.clean, self.limits, self.budget)
        self.sessions[client_id] = session
        return session, False

    def new_client_id(self) -> str:
        """An id for a client that brings none (section 3.1.3.1)."""
        return f"auto-{secrets.token_hex(12)}"

    def close_session(self, session: Session, line: Line) -> None:
        """The connection of a session has ended."""
        if session.line is line:
            session.detach()
            if session.clean:
                self.end_session(session)

    def end_session(self, session: Session) -> None:
        """Forget a session and all that it holds."""
        for topic_filter in session.subscriptions:
            self._subscriptions.remove(topic_filter, session)
        session.subscriptions.clear()
        session.discard()
        self._dropped += session.dropped
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]

    # -- messages ----------------------------------------------------------------------------------------------------

    def publish(self, message: Message) -> None:
        """Hand a message to all who subscribed to its topic, and keep it if it is to be retained (section 3.3.1.3)."""
        if message.topic.split("/", 1)[0] == _RESERVED:
            return  # the broker's own topics: nobody else may write them, and it has nothing to say (section 4.7.2)
        if message.retain:
            self._keep(message)
        found, groups = self._subscriptions.matching(message.topic)
        for session, qos in found.items():
            session.deliver(message, min(qos, message.qos))
        for members in groups:
            self._to_one(members, message)

    def subscribe(self, session: Session, topic_filter: str, qos: int) -> int:
        """Add or change a subscription. Returns the QoS granted, or ``FAILURE``."""
        if topic_filter not in session.subscriptions and len(session.subscriptions) >= self.limits.subscriptions:
            log.warning("MQTT client %r has %d subscriptions already.", session.client_id, len(session.subscriptions))
            return FAILURE
        session.subscriptions[topic_filter] = qos
        self._subscriptions.add(topic_filter, session, qos)
        return qos

    def send_retained(self, session: Session, topic_filter: str, qos: int) -> None:
        """Send what is retained to a new subscription (section 3.3.1.3). Shared ones get none."""
        if shared_group(topic_filter)[0]:
            return
        if "+" not in topic_filter and "#" not in topic_filter:
            message = self.retained.get(topic_filter)
            found = [] if message is None else [message]
        else:
            found = [message for topic, message in self.retained.items() if matches(topic_filter, topic)]
        for message in found:
            session.deliver(message, min(qos, message.qos), retain=True)

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """End a subscription, if there is one. What is on its way is still delivered (section 3.10.4)."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._subscriptions.remove(topic_filter, session)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _keep(self, message: Message) -> None:
        old = self.retained.pop(message.topic, None)
        if old is not None:
            self.budget.give(old.size)
        if not message.payload:
            return
        if len(self.retained) < self.limits.retained_messages and self.budget.take(message.size):
            self.retained[message.topic] = message
        elif not self._told_full:
            self._told_full = True
            log.warning("The store of retained MQTT messages is full: %r and others are not kept.", message.topic)

    def _to_one(self, members: dict[Session, int], message: Message) -> None:
        """One member of a shared group, in turn; those that are away only when all are."""
        present = [session for session in members if session.line is not None] or list(members)
        self._turn += 1
        session = present[self._turn % len(present)]
        session.deliver(message, min(members[session], message.qos))
