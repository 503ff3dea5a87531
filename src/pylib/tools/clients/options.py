"""Which broker a command means, and how to prove who we are to it: from the settings file or from the command line."""

from __future__ import annotations

import argparse
from typing import Final

from pylib.brokers.addresses import Address, Scheme, TlsOptions, parse_addresses
from pylib.config.appconfig import AppConfig
from pylib.errors import ConfigError
from pylib.tools.place import config_of

__all__ = ["SECTIONS", "add_addresses", "addresses_of", "exchange_of", "tls_of"]

#: The section of the settings file for each kind of broker.
SECTIONS: Final[dict[Scheme, str]] = {"mqtt": "mqtt", "amqp": "rabbitmq"}


def add_addresses(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the brokers are. Together with ``add_place``, whose settings file is the default."""
    group = parser.add_argument_group("which brokers")
    group.add_argument(
        "--mqtt-address", metavar="URL", help="mqtt(s)://user:password@host:port (default: [mqtt] server_address)"
    )
    group.add_argument(
        "--amqp-address", metavar="URL", help="amqp(s)://user:password@host:port/vhost (default: [rabbitmq] server_address)"
    )
    group.add_argument("--exchange", metavar="NAME", help="the exchange on RabbitMQ (default: [rabbitmq] mq_exchange)")
    group.add_argument("--ca", metavar="FILE", help="PEM file of the authorities to trust (default: tls_ca of the section)")


def addresses_of(options: argparse.Namespace, scheme: Scheme) -> tuple[Address, ...]:
    """The brokers to try in turn. Raises ConfigError where none is said, or it is no address."""
    given = getattr(options, f"{scheme}_address")
    if given is not None:
        return parse_addresses(given, scheme=scheme, where=f"--{scheme}-address")
    return configured(config_of(options), scheme)


def configured(config: AppConfig, scheme: Scheme) -> tuple[Address, ...]:
    """Those of the settings file."""
    section = SECTIONS[scheme]
    value = config.get(section, "server_address")
    return parse_addresses(value, scheme=scheme, where=config.place(section, "server_address"))


def tls_of(options: argparse.Namespace, scheme: Scheme) -> TlsOptions:
    """How to check the broker: ``--ca``, else the files that the section names, else the system's authorities."""
    config, section = config_of(options), SECTIONS[scheme]
    if options.ca is not None:
        return TlsOptions(ca_file=options.ca, where="--ca")
    return configured_tls(config, section) if getattr(options, f"{scheme}_address") is None else TlsOptions()


def configured_tls(config: AppConfig, section: str) -> TlsOptions:
    """The files that the section of the settings names."""
    ca, cert, key = (config.get(section, name, fallback=None) for name in ("tls_ca", "tls_cert", "tls_key"))
    return TlsOptions(ca_file=ca or None, cert_file=cert or None, key_file=key or None, where=config.place(section, "tls_ca"))


def exchange_of(options: argparse.Namespace) -> str:
    """The exchange that is meant. Raises ConfigError where none is said."""
    if options.exchange is not None:
        return str(options.exchange)
    config = config_of(options)
    found = config.get("rabbitmq", "mq_exchange", fallback=None)
    if found is None:
        raise ConfigError(f"which exchange? Say --exchange NAME. {config.missing('rabbitmq', 'mq_exchange')}")
    return found
