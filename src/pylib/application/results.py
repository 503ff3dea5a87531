"""From what a handler returned to the messages that it means, and out with them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Awaitable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

import zmq

from pylib.application.messages import Message
from pylib.brokers.port import Delivery
from pylib.errors import Rejected
from pylib.zmq import Closable

__all__ = ["Outlets", "awaited", "messages_of", "repeated_id"]

_LONGEST_ID: Final = 120
"""Characters of a message id made from another one. AMQP has room for 255, and an id grows with every handler it passes."""


class Outlets:
    """One thread's pipes to the brokers, by the brokers' names. Made where its owner is, used by the owner's thread."""

    def __init__(self, owner: Closable, urls: Mapping[str, str]) -> None:
        self._sockets: dict[str, Any] = {}
        for name, url in urls.items():
            socket = owner.get_socket(zmq.PUSH)
            socket.connect(url)
            self._sockets[name] = socket

    def send(self, result: Any, cause: Delivery | None, who: str) -> None:
        """Send what a handler returned; what it was handling is settled when all of it is accepted.

        Nothing is sent before the handler has yielded its last and every message has been looked at: a handler that fails
        half-way has sent nothing. Raises ``Rejected`` for a result that is no message and for a broker that is not there.
        """
        messages = (result,) if isinstance(result, Message) else list(messages_of(result, who))
        for message in messages:
            if message.broker not in self._sockets:
                known = ", ".join(self._sockets) or "no broker"
                raise Rejected(f"handler {who} returned a message for broker {message.broker!r}; this application has {known}")
        for number, message in enumerate(messages):
            created_at = time.time()
            how = {
                "created_at": created_at,
                "message_id": message.message_id or repeated_id(cause, who, number),
                "qos": message.qos,
                "retain": message.retain,
                "headers": message.headers,
                "expires_at": None if message.expires is None else created_at + message.expires,
            }
            self._sockets[message.broker].send_pyobj((message.address, _plain(message.payload), how))


def repeated_id(cause: Delivery | None, who: str, number: int) -> str | None:
    """The id of a handler's message number so and so: the same whenever the same cause is handled again."""
    if cause is None or cause.message_id is None:
        return None
    text = f"{cause.message_id}/{who}/{number}"
    return text if len(text) <= _LONGEST_ID else blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def messages_of(result: Any, who: str) -> Iterator[Message]:
    """What a handler returned, one message at a time. Raises ``Rejected`` for anything that is no message."""
    if result is None:
        return
    if isinstance(result, Message):
        yield result
    elif isinstance(result, Iterable) and not isinstance(result, str | bytes | bytearray | Mapping):
        for each in result:
            yield from messages_of(each, who)
    else:
        if isinstance(result, Awaitable):
            getattr(result, "close", bool)()
        kind = _article(type(result).__name__)
        raise Rejected(f"handler {who} returned {kind}; return broker.message(...), several of them, or nothing")


async def awaited(result: Any) -> list[Any]:
    """What an ``async def`` handler returned or yielded, middleware around it or not."""
    while isinstance(result, Awaitable):
        result = await result
    if isinstance(result, AsyncIterable):
        return [each async for each in result]
    return [result]


def _plain(payload: Any) -> Any:
    """A pydantic model as what it holds; everything else is understood further down."""
    dump = getattr(payload, "model_dump", None)
    return dump(mode="json") if dump is not None and not isinstance(payload, type) else payload


def _article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"
