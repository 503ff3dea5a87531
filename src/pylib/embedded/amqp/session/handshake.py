"""From the protocol header to connection.open: who is there, and what both sides can take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pamqp import commands

from pylib.embedded.amqp.wire.errors import AmqpError, Malformed, fail
from pylib.embedded.amqp.wire.methods import encode_method
from pylib.embedded.amqp.wire.tables import Table, decode_table

if TYPE_CHECKING:
    from pylib.embedded.amqp.session.connection import Connection

__all__ = ["PROTOCOL_HEADER", "may_become_header", "open_vhost", "start", "start_ok", "tune_ok"]

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
# The headers that the oldest clients sent for much the same protocol, and that RabbitMQ takes too.
_ACCEPTED: Final = (PROTOCOL_HEADER, b"AMQP\x01\x01\x00\x09", b"AMQP\x01\x01\x08\x00", b"AMQP\x01\x01\x09\x01")

#: Seconds between heartbeats that the server proposes; RabbitMQ's default.
HEARTBEAT = 60

_CAPABILITIES: Final = (
    "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
    "consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to",
)  # fmt: skip
_PROPERTIES: Final[Table] = {
    "capabilities": ("F", dict.fromkeys(_CAPABILITIES, ("t", True))),
    "product": ("S", "pylib-automation"),
    "platform": ("S", "Python"),
    "version": ("S", "3.10.0"),  # of the RabbitMQ whose behaviour this is: clients look at it to know what they may ask for
    "information": ("S", "An AMQP 0-9-1 server in the process; messages live in memory"),
}


def may_become_header(head: bytes) -> bool:
    """Whether these first bytes are, or may become, a header of this protocol."""
    if len(head) < 8:
        return b"AMQP".startswith(head[:4])
    return head in _ACCEPTED


def start(connection: Connection) -> None:
    """The answer to a protocol header."""
    connection.write(
        encode_method(
            0,
            commands.Connection.Start,
            version_major=0,
            version_minor=9,
            server_properties=_PROPERTIES,
            mechanisms="PLAIN AMQPLAIN",
            locales="en_US",
        )
    )


def start_ok(connection: Connection, method: commands.Connection.StartOk) -> None:
    """Know the user, or refuse; then propose the sizes."""
    properties: Table = method.client_properties  # type: ignore[assignment]  # decoded with its types
    capabilities = properties.get("capabilities", ("V", None))[1]
    if isinstance(capabilities, dict):
        connection.capabilities = {key for key, (kind, value) in capabilities.items() if kind == "t" and value is True}
    mechanism = str(method.mechanism)
    if mechanism == "PLAIN":
        user, password = _plain(str(method.response))
    elif mechanism == "AMQPLAIN":
        user, password = _amqplain(str(method.response))
    else:
        fail(503, f"unknown authentication mechanism '{mechanism}'")
    if not connection.core.is_known(user, password):
        text = f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
        raise AmqpError(403, text, hard=True, method=(0, 0))
    connection.user = user
    limits = connection.core.limits
    connection.write(
        encode_method(
            0, commands.Connection.Tune, channel_max=limits.channels, frame_max=limits.frame, heartbeat=connection.heartbeat
        )
    )


def _plain(response: str) -> tuple[str, str]:
    """RFC 4616: nobody, user and password between NULs."""
    parts = response.split("\x00")
    if len(parts) != 3:
        raise AmqpError(403, "the response of mechanism PLAIN is no user and password", hard=True, method=(0, 0))
    return parts[1], parts[2]


def _amqplain(response: str) -> tuple[str, str]:
    """The fields of a table, without its length."""
    raw = response.encode("utf-8", "surrogateescape")
    try:
        table, _ = decode_table(len(raw).to_bytes(4, "big") + raw, 0)
    except Malformed:
        table = {}
    user, password = table.get("LOGIN", ("V", None)), table.get("PASSWORD", ("V", None))
    if user[0] != "S" or password[0] != "S":
        raise AmqpError(403, "AMQPLAIN auth info is missing LOGIN or PASSWORD field", hard=True, method=(0, 0))
    return str(user[1]), str(password[1])


def tune_ok(connection: Connection, method: commands.Connection.TuneOk) -> None:
    """What the client can take; no more than was proposed."""
    limits = connection.core.limits
    frame_max = _negotiated("frame_max", int(method.frame_max or 0), 4096, limits.frame)
    connection.channel_max = _negotiated("channel_max", int(method.channel_max or 0), 1, limits.channels)
    connection.set_frame_max(frame_max)
    connection.heartbeat = int(method.heartbeat or 0)


def _negotiated(what: str, asked: int, least: int, most: int) -> int:
    if asked != 0 and asked < least:
        text = f"negotiated {what} = {asked} is lower than the minimum allowed value ({least})"
        raise AmqpError(530, text, method=(10, 30))
    if asked == 0 or asked > most:
        detail = " (no limit)" if asked == 0 else ""
        text = f"negotiated {what} = {asked}{detail} is higher than the maximum allowed value ({most})"
        raise AmqpError(530, text, method=(10, 30))
    return asked


def open_vhost(connection: Connection, method: commands.Connection.Open) -> None:
    """Enter a virtual host."""
    name = str(method.virtual_host)
    limits = connection.core.limits
    vhost = connection.core.vhosts.get(name)
    if vhost is None:
        raise AmqpError(530, f"vhost {name} not found", method=(10, 40))
    if connection.over_limit:
        reached = f"connection limit ({limits.connections}) is reached"
        raise AmqpError(530, f"access to vhost '{name}' refused for user '{connection.user}': {reached}", method=(10, 40))
    connection.vhost = vhost
    connection.write(encode_method(0, commands.Connection.OpenOk))
