"""What an application will ask of its brokers, from its settings and from the command line."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import msgspec

from pylib.brokers.addresses import Address, TlsOptions, parse_addresses
from pylib.config.appconfig import AppConfig
from pylib.errors import ConfigError
from pylib.tools.clients.options import configured, configured_tls
from pylib.tools.doctor.findings import Report
from pylib.tools.place import config_of, folder_of

__all__ = ["Mqtt", "Plan", "Rabbit", "make_plan"]


class Mqtt(msgspec.Struct, frozen=True, kw_only=True):
    """The MQTT brokers, the filters that are listened to, and those that are published to."""

    addresses: tuple[Address, ...]
    tls: TlsOptions
    client_id: str
    subscribe: tuple[str, ...]
    publish: tuple[str, ...]
    qos: int


class Rabbit(msgspec.Struct, frozen=True, kw_only=True):
    """The RabbitMQs, exchanges with their types, binding keys and queues."""

    addresses: tuple[Address, ...]
    tls: TlsOptions
    exchanges: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]
    queues: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; a part is None where the settings have no such broker, or cannot be read."""

    config: AppConfig
    folder: Path | None
    mqtt: Mqtt | None
    rabbit: Rabbit | None


def make_plan(options: argparse.Namespace, report: Report) -> Plan:
    """Read the settings; what is wrong with them is reported, and the rest goes on."""
    config = config_of(options)
    try:
        config.sections()
    except ConfigError as error:
        report.error("CONFIG", "settings", str(error), "Correct the settings file as the sentence says.")
        config = AppConfig("/dev/null")
    folder = None
    try:
        folder = folder_of(options) if options.state_dir is not None or not _unreadable(report) else None
    except ConfigError as error:
        report.error("CONFIG", "settings", str(error), "Correct the settings file as the sentence says.")
    plan = Plan(config=config, folder=folder, mqtt=_mqtt(options, config, report), rabbit=_rabbit(options, config, report))
    if plan.mqtt is None and plan.rabbit is None and not _unreadable(report):
        report.error(
            "CONFIG-NOTHING",
            "settings",
            f"{config.path} names no broker.",
            "Add [mqtt] server_address or [rabbitmq] server_address, or say --mqtt-address or --amqp-address; "
            "--config PATH chooses another settings file.",
        )
    return plan


def _unreadable(report: Report) -> bool:
    return any(finding.code == "CONFIG" for finding in report.findings)


def _mqtt(options: argparse.Namespace, config: AppConfig, report: Report) -> Mqtt | None:
    try:
        if options.mqtt_address is not None:
            addresses = parse_addresses(options.mqtt_address, scheme="mqtt", where="--mqtt-address")
        elif config.has_option("mqtt", "server_address"):
            addresses = configured(config, "mqtt")
        else:
            return None
        qos = options.qos if options.qos is not None else config.getint("mqtt", "qos", fallback=1)
        return Mqtt(
            addresses=addresses,
            tls=TlsOptions(ca_file=options.ca, where="--ca") if options.ca else configured_tls(config, "mqtt"),
            client_id=config.get("mqtt", "client_id", fallback="") or f"{config.app_name()}-{config.device_name()}",
            subscribe=tuple(options.subscribe) or _list(config.get("mqtt", "subscribe", fallback="")),
            publish=tuple(options.publish) or _list(config.get("mqtt", "publish", fallback="")),
            qos=min(2, max(0, qos)),
        )
    except ConfigError as error:
        report.error("CONFIG", "settings", str(error), "Correct the option as the sentence says.")
        return None


def _rabbit(options: argparse.Namespace, config: AppConfig, report: Report) -> Rabbit | None:
    try:
        if options.amqp_address is not None:
            addresses = parse_addresses(options.amqp_address, scheme="amqp", where="--amqp-address")
        elif config.has_option("rabbitmq", "server_address"):
            addresses = configured(config, "amqp")
        else:
            return None
        exchange = config.get("rabbitmq", "mq_exchange", fallback="")
        kind = config.get("rabbitmq", "mq_exchange_type", fallback="topic")
        exchanges = [_exchange(each) for each in options.exchange] or ([(exchange, kind)] if exchange else [])
        if not exchanges and options.amqp_address is None:
            report.error(
                "CONFIG", "settings", config.missing("rabbitmq", "mq_exchange"), "Add the option as the sentence says."
            )
        queue = config.get("rabbitmq", "queue", fallback="")
        usual = [f"{config.app_name()}.{config.device_name()}.{name}"[:255] for name, _ in exchanges[:1]]
        return Rabbit(
            addresses=addresses,
            tls=TlsOptions(ca_file=options.ca, where="--ca") if options.ca else configured_tls(config, "rabbitmq"),
            exchanges=tuple(exchanges),
            keys=tuple(options.bind) or _list(config.get("rabbitmq", "topic_filter", fallback="")) or ("#",),
            queues=tuple(options.queue) or ((queue,) if queue else tuple(usual)),
        )
    except ConfigError as error:
        report.error("CONFIG", "settings", str(error), "Correct the option as the sentence says.")
        return None


def _exchange(text: str) -> tuple[str, str]:
    name, colon, kind = text.rpartition(":")
    return (name, kind) if colon and kind in ("topic", "direct", "fanout", "headers") else (text, "topic")


def _list(written: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in re.split(r"[,\n]", written) if part.strip())
