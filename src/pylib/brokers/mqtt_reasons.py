"""What an MQTT broker's reason codes mean for the person who has to mend it, and for our next attempt."""

from __future__ import annotations

from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from pylib.brokers.addresses import Address
from pylib.errors import AccessRefused, ConnectFailed, ConnectionLost, DependencyError

__all__ = ["UNSUPPORTED_VERSION", "loss", "refusal"]

UNSUPPORTED_VERSION: Final = 0x84  # MQTT 5 section 4.13
_REFUSALS: Final = frozenset((0x85, 0x86, 0x87, 0x8A, 0x8C))  # bad id, bad user, not authorized, banned, bad method
_TAKEN_OVER: Final = 0x8E  # MQTT 5 section 3.14.2.1
# So many connections in a row that did not last are no accident.
_FLAPPING: Final = 3


def refusal(who: str, reason: ReasonCode, address: Address, client_id: str) -> DependencyError:
    """The broker answered our CONNECT with a failure."""
    if int(reason.value) not in _REFUSALS:
        return ConnectFailed(f"{who}: it answered {str(reason)!r}")
    user = f"user {address.user!r}" if address.user else "a client without user name"
    problem = f"{user} (client id {client_id!r}) was refused: {reason}; check user, password and id"
    return AccessRefused(f"{who}: {problem}")


def loss(who: str, reason: ReasonCode, client_id: str, flapping: int) -> DependencyError:
    """The broker ended the connection. ``flapping``: how many in a row have not lasted before this one.

    A session that was taken over is a refusal, so that the next attempt waits as long as one after a wrong password: two
    clients with one client id throw each other out, and the faster they come back the less either of them works.
    """
    if int(reason.value) == _TAKEN_OVER:
        return AccessRefused(
            f"{who}: another client uses our client id {client_id!r} and has taken over the session; "
            "give each client an id of its own"
        )
    text = f": {reason}" if reason.is_failure and str(reason) != "Unspecified error" else ""
    if flapping >= _FLAPPING:
        text += (
            f"; it has not lasted {flapping + 1} times in a row: does another client use client id {client_id!r}, or does the "
            "broker hang up on a message of ours?"
        )
    return ConnectionLost(f"{who}: the connection was lost{text}")
