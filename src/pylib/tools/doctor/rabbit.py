"""Trying what an application does on RabbitMQ: to log in, to declare, to bind, to publish. It leaves nothing behind.

Permissions are tried with requests that RabbitMQ checks and then refuses for another reason (an argument of a wrong type, an
expiration that is no number), so that nothing is made and nobody gets a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionBlockedTimeout

from pylib.brokers.addresses import Address
from pylib.brokers.pika_errors import translate
from pylib.tools.clients.amqp import connect, who
from pylib.tools.doctor.findings import Report
from pylib.tools.doctor.plan import Rabbit
from pylib.tools.doctor.reach import Greeting, about

__all__ = ["judge_version", "try_rabbit"]

#: Seconds after which a connection that RabbitMQ blocks is given up.
BLOCKED_S: Final = 2.0
_NOT_FOUND, _REFUSED, _LOCKED, _DIFFERS = 404, 403, 405, 406
_OLDEST, _FOUR = (3, 13), (4, 0)
_PERMISSIONS: Final = "rabbitmqctl set_permissions -p {vhost} {user} {what}"


def try_rabbit(plan: Rabbit, address: Address, greeting: Greeting, report: Report) -> None:
    """Everything that can be known of one RabbitMQ by talking to it. Blocks for some seconds; reports, and does not raise."""
    name = about(address)
    judge_version(greeting.properties, name, report)
    try:
        connection = connect(address, plan.tls, BLOCKED_S)
    except (AMQPError, OSError) as error:
        _refused(translate(error, who(address), address), error, address, report)
        return
    report.ok(name, f"logged in as {address.user or 'guest'!r}, virtual host {address.vhost!r}")
    try:
        trial = _Trial(connection, address, report)
        for exchange, kind in plan.exchanges:
            if trial.exchange(exchange, kind):
                trial.publish(exchange)
        if plan.exchanges:
            trial.bind(plan.exchanges[0][0], plan.keys)
        for queue in plan.queues:
            trial.queue(queue)
    except ConnectionBlockedTimeout:
        report.error(
            "AMQP-BLOCKED",
            name,
            "it has blocked the connection: its memory or disk alarm stops everything that is published.",
            "rabbitmqctl status shows which alarm. Memory: consume what waits in the queues, or raise "
            "vm_memory_high_watermark. Disk: make room, or lower disk_free_limit.",
        )
    except (AMQPError, OSError) as error:
        report.error(
            "AMQP-REFUSED",
            name,
            f"it ended the connection while it was tried: {translate(error, '', address)}",
            "See the broker's log.",
        )
    finally:
        try:
            if connection.is_open:
                connection.close()
        except (AMQPError, OSError):
            pass


def judge_version(properties: dict[str, object], name: str, report: Report) -> None:
    """What the broker says of itself in connection.start."""
    product, version = (_text(properties.get(key)) for key in ("product", "version"))
    if product and product != "RabbitMQ":
        report.note(
            "AMQP-NOT-RABBITMQ",
            name,
            f"it is {product} {version}, no RabbitMQ.",
            "What this library needs are publisher confirms, topic exchanges and, for `quorum`, quorum queues.",
        )
        return
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        return
    report.ok(name, f"{product} {version} on {_text(properties.get('platform'))}")
    number = int(match[1]), int(match[2])
    if number < _OLDEST:
        report.warning(
            "AMQP-VERSION-OLD",
            name,
            f"RabbitMQ {version} is out of the community's support.",
            "Upgrade to 3.13 and then to 4.x, after `rabbitmqctl enable_feature_flag all` on each step.",
        )
    elif number >= _FOUR:
        report.note(
            "AMQP-VERSION-4",
            name,
            f"RabbitMQ {version}: mirrored classic queues are gone, quorum queues give a message up "
            "after 20 deliveries, and messages over 16 MiB are refused.",
            "Use quorum queues for what must survive a node, with a dead letter exchange; raise max_message_size for "
            "larger ones.",
        )


class _Trial:
    """One connection's tries. A refusal costs a channel, so each try has its own."""

    def __init__(self, connection: pika.BlockingConnection, address: Address, report: Report) -> None:
        self._connection = connection
        self._address = address
        self._report = report
        self._name = about(address)

    def exchange(self, name: str, kind: str) -> bool:
        """Whether it can be published to, as far as declaring goes."""
        if name == "" or name.startswith("amq."):
            return True
        there = self._try(lambda channel: channel.exchange_declare(name, kind, passive=True))
        if there is None:
            code, text = self._try(lambda channel: channel.exchange_declare(name, kind, durable=True)) or (0, "")
            if code == _DIFFERS:
                self._report.error(
                    "AMQP-EXCHANGE-DIFFERS",
                    self._name,
                    f"exchange {name!r} is there with other properties: {text}",
                    f"Say what it is (exchange_type, durable), or choose another name; or, when nobody uses it, "
                    f"delete it: rabbitmqadmin delete exchange name={name}",
                )
            elif code == 0:
                self._report.ok(self._name, f"exchange {name!r} is there, a durable {kind} exchange")
            return True
        # Checked after the permission and before anything is made: an argument that has to be text and is not.
        code, text = self._try(
            lambda channel: channel.exchange_declare(name, kind, durable=True, arguments={"alternate-exchange": 1})
        ) or (0, "")
        if code == _REFUSED:
            self._report.error(
                "AMQP-EXCHANGE-DENIED",
                self._name,
                f"exchange {name!r} is not there, and {self._user} may not declare it: {text}",
                f"Declare it as another user, or allow it: {self._permission('configure', name)}",
            )
        elif code == _DIFFERS:
            self._report.ok(self._name, f"exchange {name!r} is not there yet, and may be declared")
        return False

    def publish(self, exchange: str) -> None:
        """Whether it may be published to; a blocked connection raises."""

        def attempt(channel: BlockingChannel) -> None:
            # An expiration that is no number is refused after the permissions are checked, and reaches nobody.
            properties = pika.BasicProperties(expiration="pylib-doctor")
            channel.basic_publish(exchange, "pylib-doctor", b"", properties)
            channel.basic_qos(prefetch_count=1)  # whose answer, or the channel's end, shows that it was looked at

        code, text = self._try(attempt) or (0, "")
        if code == _REFUSED:
            self._report.error(
                "AMQP-PUBLISH-DENIED",
                self._name,
                f"{self._user} may not publish to exchange {exchange!r}: {text}",
                f"Allow it: {self._permission('write', exchange)}",
            )
        elif code in (0, _DIFFERS):
            self._report.ok(self._name, f"exchange {exchange!r} may be published to")

    def bind(self, exchange: str, keys: tuple[str, ...]) -> None:
        """Whether a queue of ours can listen to the exchange."""

        def attempt(channel: BlockingChannel) -> None:
            queue = str(channel.queue_declare("", exclusive=True, auto_delete=True).method.queue)
            for key in keys:
                channel.queue_bind(queue, exchange, key)

        code, text = self._try(attempt) or (0, "")
        if code == _REFUSED and "queue 'amq.gen" in text:
            self._report.note(
                "AMQP-QUEUE-DENIED",
                self._name,
                f"{self._user} may not declare a queue that the broker names, so binding was not tried: {text}",
                "Fine where queues have names that are permitted; `pylib tap amqp` needs it.",
            )
        elif code == _REFUSED:
            self._report.error(
                "AMQP-BIND-DENIED",
                self._name,
                f"{self._user} may not listen to exchange {exchange!r}: {text}",
                f"Allow it: {self._permission('read', exchange)}",
            )
        elif code == 0:
            self._report.ok(self._name, f"exchange {exchange!r} may be listened to by {', '.join(map(repr, keys))}")

    def queue(self, name: str) -> None:
        """Whether the application's own queue is as it wants it, or may be made."""
        from pylib.rabbit import QUEUE_EXPIRES_MS, QUEUE_MAX_LENGTH

        code, text = self._try(lambda channel: channel.queue_declare(name, passive=True)) or (0, "")
        if code == _NOT_FOUND:
            code, text = self._try(
                lambda channel: channel.queue_declare(name, durable=True, arguments={"x-expires": "pylib-doctor"})
            ) or (0, "")
            if code == _REFUSED:
                self._report.error(
                    "AMQP-QUEUE-DENIED",
                    self._name,
                    f"{self._user} may not declare queue {name!r}: {text}",
                    f"Allow it: {self._permission('configure', name)}",
                )
        elif code == _LOCKED:
            self._report.note(
                "AMQP-QUEUE-DIFFERS",
                self._name,
                f"queue {name!r} belongs to another connection alone: {text}",
                "That is the running application, if it asks for an exclusive queue.",
            )
        elif code == 0:
            arguments = {"x-expires": QUEUE_EXPIRES_MS, "x-max-length": QUEUE_MAX_LENGTH}
            code, text = self._try(lambda channel: channel.queue_declare(name, durable=True, arguments=arguments)) or (0, "")
            if code == _DIFFERS:
                self._report.warning(
                    "AMQP-QUEUE-DIFFERS",
                    self._name,
                    f"queue {name!r} is there with other properties, and is used as it is: {text}",
                    f"If it should be bounded and expire as this library makes queues, delete it when it is empty: "
                    f"rabbitmqctl delete_queue {name} -p {self._address.vhost}",
                )
            else:
                self._report.ok(self._name, f"queue {name!r} is there")

    @property
    def _user(self) -> str:
        return f"user {self._address.user or 'guest'!r}"

    def _permission(self, which: str, name: str) -> str:
        wanted = {"configure": 0, "write": 1, "read": 2}[which]
        patterns = ['"..."', '"..."', '"..."']
        patterns[wanted] = f'"...|{re.escape(name)}"'
        user = self._address.user or "guest"
        return _PERMISSIONS.format(vhost=self._address.vhost, user=user, what=" ".join(patterns)) + " (configure, write, read)"

    def _try(self, attempt: Callable[[BlockingChannel], object]) -> tuple[int, str] | None:
        """None where it went well, else the code and the words with which the channel was closed."""
        channel = self._connection.channel()
        try:
            attempt(channel)
        except ChannelClosedByBroker as error:
            return error.reply_code, error.reply_text.removeprefix("PRECONDITION_FAILED - ").removeprefix("ACCESS_REFUSED - ")
        if channel.is_open:
            channel.close()
        return None


def _refused(error: Exception, raw: BaseException, address: Address, report: Report) -> None:
    name, text, user = about(address), f"{error} {raw!r}", address.user or "guest"
    if "virtual host" in str(error) and "not found" in text:
        report.error(
            "AMQP-VHOST-MISSING",
            name,
            f"virtual host {address.vhost!r} does not exist.",
            f"Make it (rabbitmqctl add_vhost {address.vhost}), or correct the end of the address: "
            f"amqp://user:password@host/vhost, where / itself is written %2F.",
        )
    elif "virtual host" in str(error) and "limit" in text:
        report.error(
            "AMQP-REFUSED",
            name,
            f"virtual host {address.vhost!r} has as many connections as it may have.",
            "Close some, or raise the limit: rabbitmqctl set_vhost_limits.",
        )
    elif "virtual host" in str(error):
        report.error(
            "AMQP-VHOST-DENIED",
            name,
            f"user {user!r} may not use virtual host {address.vhost!r}.",
            f'Allow it: rabbitmqctl set_permissions -p {address.vhost} {user} ".*" ".*" ".*"',
        )
    elif "password was refused" in str(error) and user == "guest" and address.host not in ("localhost", "127.0.0.1", "::1"):
        report.error(
            "AMQP-GUEST-REMOTE",
            name,
            "user 'guest' was refused: it may only log in from RabbitMQ's own machine.",
            "Make a user of your own: rabbitmqctl add_user, set_permissions; and write it into the address.",
        )
    elif "password was refused" in str(error):
        report.error(
            "AMQP-CREDENTIALS",
            name,
            f"user {user!r} or its password was refused.",
            f"Compare both with RabbitMQ's: rabbitmqctl authenticate_user {user}; change_password sets another.",
        )
    else:
        report.error("AMQP-REFUSED", name, str(error), "See the broker's log for the reason.")


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
