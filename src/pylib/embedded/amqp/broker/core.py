"""The whole broker without its sockets: virtual hosts, users, memory, and addresses for direct answers."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Protocol

from pylib.embedded.amqp.broker.agenda import Agenda
from pylib.embedded.amqp.broker.memory import Memory
from pylib.embedded.amqp.broker.message import Message
from pylib.embedded.amqp.broker.vhost import VirtualHost
from pylib.embedded.amqp.limits import Limits

__all__ = ["REPLY_TO", "Core", "ReplyReceiver"]

#: The pseudo-queue of direct answers, and the beginning of every such address.
REPLY_TO = "amq.rabbitmq.reply-to"


class ReplyReceiver(Protocol):
    """A channel that consumes from the pseudo-queue."""

    def deliver_reply(self, message: Message) -> None: ...


class Core:
    """One broker. Everything in it belongs to one thread; ``now`` is its clock (seconds, never backwards)."""

    def __init__(self, limits: Limits, now: Callable[[], float], user: str, password: str) -> None:
        self.limits = limits
        self.agenda = Agenda(now)
        self.memory = Memory(limits.memory)
        self.queue_count = 0
        self.bindings = 0
        self.consumers = 0
        self.incoming = 0  # bytes of bodies that have not come whole yet
        self._user = user
        self._password = password
        self._replies: dict[str, ReplyReceiver] = {}
        self.vhosts: dict[str, VirtualHost] = {}
        self.add_vhost("/")

    def __repr__(self) -> str:
        return f"Core(vhosts={sorted(self.vhosts)!r}, queues={self.queue_count})"

    def add_vhost(self, name: str) -> VirtualHost:
        """Make a virtual host, or return the one of that name."""
        found = self.vhosts.get(name)
        if found is None:
            found = self.vhosts[name] = VirtualHost(name, self)
        return found

    def is_known(self, user: str, password: str) -> bool:
        """Whether that is the user and its password. Takes as long for wrong ones as for right ones."""
        good_user = hmac.compare_digest(user.encode("utf-8", "surrogateescape"), self._user.encode())
        good_password = hmac.compare_digest(password.encode("utf-8", "surrogateescape"), self._password.encode())
        return good_user and good_password

    # -- direct answers ----------------------------------------------------------------------------------------------

    def add_reply_receiver(self, receiver: ReplyReceiver) -> str:
        """An address at which this receiver gets answers."""
        address = f"{REPLY_TO}.{secrets.token_urlsafe(18)}"
        self._replies[address] = receiver
        return address

    def remove_reply_receiver(self, address: str) -> None:
        self._replies.pop(address, None)

    def knows_reply_address(self, name: str) -> bool:
        return name == REPLY_TO or name in self._replies

    def deliver_reply(self, message: Message) -> None:
        """Give a message to the receivers its routing keys name; to one that has gone, nothing."""
        for key in message.routing_keys:
            receiver = self._replies.get(key)
            if receiver is not None:
                receiver.deliver_reply(message)

    def clear(self) -> None:
        """Empty all virtual hosts."""
        for vhost in self.vhosts.values():
            vhost.clear()
