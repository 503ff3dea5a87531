"""From a plain function to a handler: what it wants is read off its annotations."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from pylib.brokers.port import Delivery
from pylib.data import JSON, MSGPACK, decode, unwrap_payload
from pylib.errors import ConfigError, DecodeError
from pylib.mqtt import read_payload

__all__ = ["Binding", "Handler", "Middleware", "is_async", "name_of"]

Handler = Callable[..., Any]  # a user's function: what it takes is looked up, what it returns is checked
Middleware = Callable[[Callable[[Delivery], Any], Delivery], Any]

#: Parameters that are given by their name; any other is the body.
_BY_NAME = ("topic", "routing_key", "delivery")
_NO_BODY = "its parameters are the body and any of topic, routing_key and delivery"


class Binding:
    """How one function is called with a delivery.

    Its one parameter that is not named ``topic``, ``routing_key`` or ``delivery`` is the body, as its annotation says:
    ``bytes`` as it came, ``str`` as text, a msgspec struct, dataclass, TypedDict, pydantic model or built-in type validated,
    ``Delivery`` the whole of it, and without an annotation whatever it decodes to. Made when the function is registered, so
    that a function that cannot be called is told of at its own line. Calling it is thread-safe if the function is.
    ``body`` is that annotation: None for a function that takes no body, ``Any`` where it says nothing.

    :raises ConfigError: the function cannot be called with a message; says which parameter is at fault.
    """

    def __init__(self, function: Handler, kind: str) -> None:
        self.function = function
        self.name = name_of(function)
        self.is_async = is_async(function)
        self._default = JSON if kind == "mqtt" else MSGPACK
        self._named: list[str] = []
        self._body: str | None = None
        self.body: Any = None
        self._convert: Callable[[Delivery], Any] = self._decoded
        hints = _hints(function, self.name)
        for parameter in _parameters(function, self.name):
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
        elif self._body is None:
            self._body = name
            self.body = hint
            self._convert = self._converter(name, hint)
        elif parameter.default is parameter.empty:
            raise ConfigError(f"handler {self.name}: both {self._body!r} and {name!r} would be the body; {_NO_BODY}; "
                              "give any other a default")  # fmt: skip

    def _converter(self, name: str, hint: Any) -> Callable[[Delivery], Any]:
        if hint is Delivery:
            return lambda delivery: delivery
        if hint is bytes:
            return lambda delivery: delivery.body
        if hint is str:
            return self._text
        if hint in (Any, object):
            return self._decoded
        validate = getattr(hint, "model_validate", None)
        if validate is not None:  # a pydantic model, recognised by what it can do: pydantic is not for everyone
            return lambda delivery: _pydantic(validate, self._decoded(delivery))
        try:
            msgspec.convert(None, hint)  # does nothing but look whether it could
        except msgspec.ValidationError:
            pass
        except Exception as error:
            raise ConfigError(
                f"handler {self.name}: a body cannot be made into {name}: {hint!r} ({error}); annotate it with bytes, str, "
                "dict, a msgspec struct, a dataclass, a pydantic model or Delivery"
            ) from None
        return lambda delivery: _converted(self._decoded(delivery), hint)

    def _decoded(self, delivery: Delivery) -> Any:
        kind = delivery.content_type
        if self._default == JSON:
            # Most small devices send ON or 21.5 and say nothing about it.
            return read_payload(delivery.body) if kind is None else decode(delivery.body, kind)
        # On RabbitMQ a body says when it was made and what it holds; the handler wants what it holds.
        return unwrap_payload(decode(delivery.body, kind or MSGPACK))[0]

    def _text(self, delivery: Delivery) -> str:
        kind = delivery.content_type or ""
        if self._default == MSGPACK and (not kind or "msgpack" in kind):
            return str(_converted(self._decoded(delivery), str))
        try:
            return delivery.body.decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"the payload is no UTF-8 text ({error.reason} at byte {error.start})") from None


def name_of(function: Handler) -> str:
    """What a handler is called where nobody says otherwise."""
    inner = function.func if isinstance(function, functools.partial) else function
    return str(getattr(inner, "__name__", type(inner).__name__))


def is_async(function: Handler) -> bool:
    """Whether calling it gives something to await or to iterate over asynchronously."""
    inner = function.func if isinstance(function, functools.partial) else function
    looks = (inner, getattr(inner, "__call__", None))  # noqa: B004  # an object may have an ``async def __call__``
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in looks)


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
        text = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in problems) or str(error)
        raise DecodeError(f"the payload does not fit: {text}") from None


def _parameters(function: Handler, name: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"handler {name} cannot be called: {error}") from None


def _hints(function: Handler, name: str) -> dict[str, Any]:
    inner = function.func if isinstance(function, functools.partial) else function
    if not (inspect.isroutine(inner) or inspect.isclass(inner)):
        inner = type(inner).__call__
    try:
        return typing.get_type_hints(inner)
    except NameError as error:
        raise ConfigError(f"handler {name}: its annotation cannot be resolved: {error}; define or import it at the top "
                          "of the module, before the handler") from error  # fmt: skip
    except TypeError as error:
        raise ConfigError(f"handler {name}: its annotations cannot be read: {error}") from error
