"""What a broker of an application may be told, by name, so that an editor offers it and a slip is found at its line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from pylib.brokers.addresses import TlsOptions
from pylib.brokers.mqtt_values import Will
from pylib.brokers.patience import Reconnect
from pylib.brokers.retrying import RetryPolicy
from pylib.delivery.spool import SpoolLimits
from pylib.errors import ConfigError

__all__ = ["CONSUMING", "PUBLISHING", "MqttSettings", "RabbitSettings", "checked"]


class MqttSettings(TypedDict, total=False):
    """Options of ``Application.mqtt``; each is explained at ``MqttSubscriber``."""

    client_id: str
    qos: int
    tls: TlsOptions
    last_will: Will
    birth: Will
    session_expiry: int
    keepalive: int
    reconnect: Reconnect
    retry: RetryPolicy | None
    store: Path
    spool: str | os.PathLike[str]
    spool_limits: SpoolLimits


class RabbitSettings(TypedDict, total=False):
    """Options of ``Application.rabbitmq``; each is explained at ``RabbitMQConsumer`` and ``RabbitMQRelay``."""

    mq_arguments: Mapping[str, object]
    queue: str
    quorum: bool
    queue_arguments: Mapping[str, object] | None
    exclusive: bool
    prefetch: int
    retry: RetryPolicy | None
    store: Path
    spool: str | os.PathLike[str]
    spool_limits: SpoolLimits
    reject_unroutable: bool
    reconnect: Reconnect
    tls: TlsOptions


#: Options of a RabbitMQ broker that only one of its two connections understands.
CONSUMING = frozenset(("queue", "quorum", "queue_arguments", "exclusive", "prefetch", "retry", "store"))
PUBLISHING = frozenset(("spool", "spool_limits", "reject_unroutable"))


def checked(options: Mapping[str, object], known: type, where: str) -> dict[str, object]:
    """The options, each of them known. Raises ``ConfigError`` that names the one that is not."""
    names = sorted(known.__annotations__)
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
            raise ConfigError(f"{where} has no option {name!r}; {hint}")
    return dict(options)
