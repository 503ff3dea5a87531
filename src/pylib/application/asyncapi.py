"""An AsyncAPI 3 document of an application, from what its handlers are registered on and which types they take.

https://www.asyncapi.com/docs/reference/specification/v3.0.0 says what each part means. What handlers return is not in their
types, so the document holds what the application receives, and nothing of what it sends.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from pylib.application.brokers import Broker, Registration
from pylib.application.core import Application
from pylib.brokers.addresses import Address, parse_addresses
from pylib.brokers.port import Delivery
from pylib.config import app_config
from pylib.data import JSON, MSGPACK
from pylib.errors import ConfigError

__all__ = ["asyncapi"]

Document: TypeAlias = dict[str, Any]  # JSON: what it holds depends on the types of the handlers

VERSION: Final = "3.0.0"

_NOT_A_KEY: Final = re.compile(r"[^A-Za-z0-9_-]+")
_SCHEMAS: Final = "#/components/schemas/{name}"


def asyncapi(app: Application, *, version: str = "1.0.0") -> Document:
    """Describe an application as AsyncAPI 3.0: servers, channels, operations, messages and their schemas, ready for JSON.

    Nothing is started, and no broker is asked. Addresses come without user and password. Any thread, before ``run()``.

    :param version: of the application, as its document says it.
    :raises ConfigError: a broker's address cannot be understood, or a handler's type has no schema.
    """
    schemas = _Schemas()
    servers: Document = {}
    channels: Document = {}
    operations: Document = {}
    messages: Document = {}
    for broker in app.brokers:
        mine = _servers(broker)
        servers |= mine
        for registration in broker.registrations:
            name = _key(f"{broker.name}-{registration.name}")
            channel = _channel_of(broker, registration.pattern, mine, channels)
            messages[name] = _message(registration, broker, schemas)
            channels[channel]["messages"][name] = {"$ref": f"#/components/messages/{name}"}
            operations[name] = {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"}],
                **_said(registration),
            }
    return {
        "asyncapi": VERSION,
        "info": {"title": app.name, "version": version},
        "servers": servers,
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas.found},
    }


class _Schemas:
    """JSON schemas of types, the named ones once for all."""

    def __init__(self) -> None:
        self.found: Document = {}

    def of(self, hint: Any, who: str) -> Any:
        """The schema of a body that a handler wants decoded."""
        if hint in (Any, object, Delivery):
            return {}
        pydantic = getattr(hint, "model_json_schema", None)
        if pydantic is not None:
            schema = pydantic(ref_template="#/components/schemas/{model}")
            self.found |= schema.pop("$defs", {})
            return schema
        try:
            (schema,), named = msgspec.json.schema_components([hint], ref_template=_SCHEMAS)
        except TypeError as error:
            raise ConfigError(f"handler {who}: its body's type has no JSON schema: {error}") from None
        self.found |= named
        return schema


def _servers(broker: Broker) -> Document:
    """A server for each address of a broker."""
    addresses = _addresses(broker)
    several = len(addresses) > 1
    return {
        _key(f"{broker.name}-{number}" if several else broker.name): _server(address)
        for number, address in enumerate(addresses, 1)
    }


def _addresses(broker: Broker) -> Sequence[Address]:
    mqtt = broker.kind == "mqtt"
    written = broker.options["mqtt_server_address" if mqtt else "mq_server_address"]
    if written is None:
        written = app_config.get("mqtt", "server_address")
    return parse_addresses(written, scheme="mqtt" if mqtt else "amqp", where=f"address of broker {broker.name}")


def _server(address: Address) -> Document:
    host = f"[{address.host}]" if ":" in address.host else address.host
    protocol = {("mqtt", False): "mqtt", ("mqtt", True): "secure-mqtt", ("amqp", False): "amqp", ("amqp", True): "amqps"}
    found: Document = {"host": f"{host}:{address.port}", "protocol": protocol[address.scheme, address.tls]}
    if address.scheme == "amqp":
        found["protocolVersion"] = "0.9.1"
        if address.vhost != "/":
            found["pathname"] = f"/{address.vhost}"
    return found


def _channel_of(broker: Broker, pattern: str, servers: Iterable[str], channels: Document) -> str:
    """The key of the channel of a pattern, which is made where it is not there yet. Handlers may share one."""
    base = _key(f"{broker.name}-{pattern}")
    number = 1
    key = base
    while key in channels and (channels[key]["x-pattern"], channels[key]["x-broker"]) != (pattern, broker.name):
        number += 1
        key = f"{base}-{number}"
    if key not in channels:
        address, parameters = _address(broker, pattern)
        channels[key] = {
            "address": address,
            "messages": {},
            "servers": [{"$ref": f"#/servers/{name}"} for name in servers],
            # As it is subscribed to, which an address with parameters does not say exactly.
            "x-pattern": pattern,
            "x-broker": broker.name,
        }
        if parameters:
            channels[key]["parameters"] = parameters
        if broker.kind == "rabbitmq":
            channels[key]["bindings"] = {"amqp": _exchange(broker)}
    return key


def _address(broker: Broker, pattern: str) -> tuple[str, Document]:
    """The pattern with a parameter in place of each wildcard: ``soil/+/state`` is ``soil/{level_2}/state``."""
    mqtt = broker.kind == "mqtt"
    separator, one, what = ("/", "+", "level") if mqtt else (".", "*", "word")
    parameters: Document = {}
    parts: list[str] = []
    for number, part in enumerate(pattern.split(separator), 1):
        if part == one:
            name, text = f"{what}_{number}", f"any one {what}"
        elif part == "#":
            name, text = f"{what}s_from_{number}", f"any number of {what}s"
        else:
            parts.append(part)
            continue
        parameters[name] = {"description": text}
        parts.append(f"{{{name}}}")
    return separator.join(parts), parameters


def _exchange(broker: Broker) -> Document:
    options = broker.options
    exchange = {
        "name": options["mq_exchange_name"],
        "type": options["mq_exchange_type"],
        "durable": True,
        "vhost": _addresses(broker)[0].vhost,
    }
    return {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}


def _message(registration: Registration, broker: Broker, schemas: _Schemas) -> Document:
    body, name = registration.binding.body, registration.name
    if body is bytes:
        return {"name": name, "contentType": "application/octet-stream", "payload": {"type": "string", "format": "binary"}}
    if body is str:
        return {"name": name, "contentType": "text/plain", "payload": {"type": "string"}}
    content = JSON if broker.kind == "mqtt" else MSGPACK
    made: Document = {"name": name, "contentType": content, "payload": {} if body is None else schemas.of(body, name)}
    if broker.kind == "rabbitmq":
        made["description"] = 'The payload may also stand in the "data" of {"timestamp": ..., "data": ...}.'
    return made


def _said(registration: Registration) -> Mapping[str, object]:
    """The handler's docstring: its first line is the summary."""
    text = inspect.getdoc(registration.binding.function) or ""
    summary, _, rest = text.partition("\n")
    return {name: value for name, value in (("summary", summary), ("description", rest.strip())) if value}


def _key(text: str) -> str:
    """What may be a key of components, and stands in a reference as it is."""
    worded = text.replace("#", "all").replace("+", "any").replace("*", "any")
    return _NOT_A_KEY.sub("-", worded).strip("-") or "unnamed"
