"""From a plain function to a handler: what it wants is read off its annotations, what it returns is checked."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any

import msgspec

from pylib.application.messages import Message
from pylib.brokers.port import Delivery
from pylib.data import MSGPACK, decode, unwrap_payload
from pylib.errors import ConfigError, DecodeError, PylibError

__all__ = ["Binding", "Handler", "Middleware"]

Handler = Callable[..., Any]  # a user's function: what it takes is looked up, what it returns is checked
Middleware = Callable[[Callable[[Delivery], Any], Delivery], Any]

#: Parameters that are given by their name; any other is the body.
_BY_NAME = ("topic", "routing_key", "delivery")


class Binding:
    """How one function is called with a delivery.

    Its one parameter that is not named ``topic``, ``routing_key`` or ``delivery`` is the body, as its annotation says:
    ``bytes`` as it came, ``str`` as text, a msgspec struct, dataclass, TypedDict or pydantic model validated, anything else
    (or nothing) decoded. A parameter annotated ``Delivery`` gets the whole of it. Made when the function is registered, so
    that a function that cannot be called is told of at start. Calling it is thread-safe if the function is.
    """

    def __init__(self, function: Handler, default_content_type: str | None) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        self._default = default_content_type
        self._named: list[str] = []
        self._body: str | None = None
        self._convert: Callable[[Delivery], Any] = self._decoded
        hints = _hints(function)
        for parameter in inspect.signature(function).parameters.values():
            self._sort(parameter, hints.get(parameter.name, Any))

    def call(self, delivery: Delivery) -> Any:
        """Call the function. Raises ``DecodeError`` for a body that is not what it wants, and whatever it raises."""
        arguments: dict[str, Any] = {}
        for name in self._named:
            arguments[name] = delivery if name == "delivery" else delivery.address
        if self._body is not None:
            arguments[self._body] = self._convert(delivery)
        return self.function(**arguments)

    def _sort(self, parameter: inspect.Parameter, hint: Any) -> None:
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigError(f"handler {self.name}: parameter {name!r} is positional only; arguments are given by name")
        if name in _BY_NAME:
            self._named.append(name)
        elif parameter.default is not parameter.empty and self._body is not None:
            return
        elif self._body is not None:
            raise ConfigError(
                f"handler {self.name}: both {self._body!r} and {name!r} would be the body; "
                f"name the others {', '.join(_BY_NAME)}, or give them defaults"
            )
        else:
            self._body = name
            self._convert = self._converter(hint)

    def _converter(self, hint: Any) -> Callable[[Delivery], Any]:
        if hint is Delivery:
            return lambda delivery: delivery
        if hint is bytes:
            return lambda delivery: delivery.body
        if hint is str:
            return _text
        if hint in (Any, object, dict, list, inspect.Parameter.empty):
            return self._decoded
        validate = getattr(hint, "model_validate", None)
        if validate is not None:  # a pydantic model, recognised by what it can do: pydantic is not for everyone
            return lambda delivery: _pydantic(validate, self._decoded(delivery))
        return lambda delivery: _converted(self._decoded(delivery), hint)

    def _decoded(self, delivery: Delivery) -> Any:
        value = decode(delivery.body, delivery.content_type or self._default)
        # On RabbitMQ a body says when it was made and what it holds; the handler wants what it holds.
        return unwrap_payload(value)[0] if self._default == MSGPACK else value


def messages_of(result: Any, who: str) -> Iterator[Message]:
    """What a handler returned, one message at a time. Raises ``PylibError`` for anything that is no message."""
    if result is None:
        return
    if isinstance(result, Message):
        yield result
    elif isinstance(result, Iterable) and not isinstance(result, str | bytes | dict):
        for each in result:
            yield from messages_of(each, who)
    else:
        raise PylibError(
            f"handler {who} returned {type(result).__name__}; return broker.message(...), several of them, or nothing"
        )


async def awaited(result: Any) -> list[Any]:
    """What an ``async def`` handler returned or yielded."""
    if isinstance(result, AsyncIterable):
        return [each async for each in result]
    if isinstance(result, Awaitable):
        result = await result
    return [result]


def _text(delivery: Delivery) -> str:
    try:
        return delivery.body.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"the payload is no UTF-8 text ({error.reason} at byte {error.start})") from None


def _converted(value: Any, hint: Any) -> Any:
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        raise DecodeError(f"the payload does not fit: {error}") from None


def _pydantic(validate: Callable[[Any], Any], value: Any) -> Any:
    try:
        return validate(value)
    except ValueError as error:  # pydantic's ValidationError is one
        problems: list[Any] = getattr(error, "errors", list)()
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems) or str(error)
        raise DecodeError(f"the payload does not fit: {text}") from None


def _hints(function: Handler) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        name = getattr(function, "__name__", repr(function))
        raise ConfigError(f"handler {name}: its annotation cannot be resolved: {error}; define or import it first") from error
