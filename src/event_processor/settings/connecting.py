"""The brokers' addresses and TLS files, as the library takes them."""

from __future__ import annotations

from event_processor.settings.reading import HubSettings
from event_processor.settings.sections import MqttSettings, RabbitSettings
from pylib.brokers.addresses import Address, TlsOptions, parse_addresses
from pylib.config import app_config

__all__ = ["addresses", "tls_options"]


def addresses(settings: HubSettings) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    """The addresses of RabbitMQ and of the MQTT broker. Raises ``ConfigError``, which names the place of the option."""
    return (
        parse_addresses(settings.rabbitmq.addresses, scheme="amqp", where=app_config.place("rabbitmq", "server_address")),
        parse_addresses(settings.mqtt.addresses, scheme="mqtt", where=app_config.place("mqtt", "server_address")),
    )


def tls_options(section: RabbitSettings | MqttSettings) -> TlsOptions | None:
    """The TLS files of a broker's section, or None where it names none."""
    if section.tls_ca is None and section.tls_cert is None:
        return None
    return TlsOptions(ca_file=section.tls_ca, cert_file=section.tls_cert, key_file=section.tls_key)
