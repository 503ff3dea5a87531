"""Where a broker is, and how to prove who is who: addresses from the settings file, secrets that do not show, TLS."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, unquote

from pylib.errors import ConfigError

__all__ = ["Address", "AddressLike", "Scheme", "Secret", "TlsOptions", "parse_addresses"]

Scheme: TypeAlias = Literal["amqp", "mqtt"]
AddressLike: TypeAlias = "str | Mapping[str, object] | Address | Sequence[str | Mapping[str, object] | Address]"

_PORTS: Final[Mapping[tuple[Scheme, bool], int]] = {
    ("amqp", False): 5672,
    ("amqp", True): 5671,
    ("mqtt", False): 1883,
    ("mqtt", True): 8883,
}
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,19}")
_HOST: Final = re.compile(r"\w(?:[\w.\-]{0,251}\w)?\.?")
_HEADS: Final = re.compile(r"[\s,]+")


class Secret:
    """A text that shows itself only to who asks with :meth:`reveal`; in ``repr``, ``str`` and logs it is ``***``."""

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """The text itself. To be handed straight to the library that needs it."""
        return self._value

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Secret does not change")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


@dataclass(frozen=True, slots=True)
class Address:
    """One broker. ``str()`` and ``repr()`` are safe for logs: neither has the password."""

    scheme: Scheme
    host: str
    port: int
    user: str | None = None
    password: Secret | None = None
    vhost: str = "/"
    tls: bool = False

    def __str__(self) -> str:
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        vhost = f"/{quote(self.vhost, safe='')}" if self.scheme == "amqp" and self.vhost != "/" else ""
        return f"{self.scheme}{'s' if self.tls else ''}://{user}{host}:{self.port}{vhost}"


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What an address does not say itself, and the words that open an error about it."""

    scheme: Scheme
    user: str | None
    password: Secret | None
    vhost: str
    tls: bool
    where: str

    def error(self, problem: str) -> ConfigError:
        return ConfigError(f"{self.where}: {problem}")

    def address(
        self, host: str, port: int | None, user: str | None, password: Secret | None, vhost: str | None, tls: bool
    ) -> Address:
        if user is None:
            user, password = self.user, self.password if password is None else password
        elif password is None and self.user in (None, user):
            password = self.password
        return Address(
            scheme=self.scheme,
            host=host,
            port=_PORTS[self.scheme, tls] if port is None else port,
            user=user,
            password=password,
            vhost=self.vhost if vhost is None else vhost,
            tls=tls,
        )


def parse_addresses(
    value: AddressLike,
    *,
    scheme: Scheme,
    default_user: str | None = None,
    default_password: str | Secret | None = None,
    default_vhost: str = "/",
    tls: bool = False,
    where: str = "broker address",
) -> tuple[Address, ...]:
    """The brokers to try, in order.

    Accepts ``host``, ``host:port``, ``[::1]:5672``, ``amqp(s)://user:pass@host:port/vhost`` and
    ``mqtt(s)://user:pass@host:port``, a mapping with ``host`` and any of ``port``, ``user``, ``password``, ``vhost``
    and ``tls``, a string of several separated by commas or white space, or a sequence of any of these.

    User and password are percent-decoded (RFC 3986 section 2.1); a ``%`` that starts no escape stays as it is. They end
    at the rightmost ``@``, so a password may contain ``@ : / #`` and commas as they are, but no white space.

    :param default_user: for addresses that name no user.
    :param default_password: for addresses that name no password and either no user or the default one.
    :param tls: for addresses without a scheme; ``amqps``, ``mqtts`` always use it.
    :param where: the setting the value comes from, for messages: ``app.conf: [rabbitmq] server_address``.
    :raises ConfigError: what is wrong and what an address looks like. It never has a part of the value that may be a
        password.
    """
    secret = default_password if isinstance(default_password, Secret | None) else Secret(default_password)
    defaults = _Defaults(scheme, default_user, secret, default_vhost, tls, where)
    entries: list[str | Mapping[str, object] | Address] = []
    for item in (value,) if isinstance(value, str | Mapping | Address) else value:
        entries.extend(_split(item) if isinstance(item, str) else [item])
    if not entries:
        raise defaults.error(f"there is no address; write host, host:port or {scheme}://user:password@host:port.")
    addresses: list[Address] = []
    for number, entry in enumerate(entries, 1):
        numbered = where if len(entries) == 1 else f"{where}, address {number} of {len(entries)}"
        here = _Defaults(scheme, default_user, secret, default_vhost, tls, numbered)
        if isinstance(entry, Address):
            addresses.append(entry)
        elif isinstance(entry, str):
            addresses.append(_parse(entry, here))
        else:
            addresses.append(_from_mapping(entry, here))
    return tuple(addresses)


def _split(text: str) -> list[str]:
    """Cut at commas and white space, but not at a comma inside a password.

    What follows such a comma has an ``@`` and no ``://``, which no address of its own has.
    """
    pieces: list[str] = []
    for word in text.split():
        started = False
        for piece in word.split(","):
            if started and "@" in piece and "://" not in piece and "://" in pieces[-1]:
                pieces[-1] += f",{piece}"
            elif piece:
                pieces.append(piece)
                started = True
    return pieces


def _parse(text: str, defaults: _Defaults) -> Address:
    scheme = defaults.scheme
    head, separator, rest = text.partition("://")
    if not separator:
        if "@" in text:
            raise defaults.error(f"a user or password needs the form {scheme}://user:password@host:port.")
        host, port = _host_port(text, defaults)
        return defaults.address(host, port, None, None, None, defaults.tls)
    if head.lower() not in (scheme, f"{scheme}s"):
        named = f"{head!r}" if _SCHEME.fullmatch(head) else "the scheme"
        raise defaults.error(f"{named} is not understood here; write {scheme}:// or {scheme}s:// (TLS).")
    tls = head.lower() == f"{scheme}s"
    userinfo, at, location = rest.rpartition("@")
    user: str | None = None
    password: Secret | None = None
    if at:
        raw_user, colon, raw_password = userinfo.partition(":")
        user = _decode(raw_user) or None
        password = Secret(_decode(raw_password)) if colon else None
    if "?" in location or "#" in location:
        raise defaults.error("what follows ? or # is not understood; set options beside the address instead.")
    host_port, _, path = location.partition("/")
    if path and scheme == "mqtt":
        raise defaults.error("an MQTT address ends after the port; remove the path.")
    host, port = _host_port(host_port, defaults)
    return defaults.address(host, port, user, password, _decode(path) if path else None, tls)


def _from_mapping(entry: Mapping[str, object], defaults: _Defaults) -> Address:
    known = ("host", "port", "user", "password", "vhost", "tls")
    for name in entry:
        if name not in known:
            raise defaults.error(f"{name!r} is not part of an address; known are {', '.join(known)}.")
    host, user, vhost = (_text(entry, name, defaults) for name in ("host", "user", "vhost"))
    if host is None:
        raise defaults.error("host is missing.")
    password = entry.get("password")
    if not isinstance(password, str | Secret | None):
        raise defaults.error("password has to be text.")
    tls = entry.get("tls", defaults.tls)
    if not isinstance(tls, bool):
        raise defaults.error("tls has to be true or false.")
    port = entry.get("port")
    if port is not None:
        port = _port(str(port), defaults)
    secret = Secret(password) if isinstance(password, str) else password
    return defaults.address(_host(host, defaults), port, user, secret, vhost, tls)


def _text(entry: Mapping[str, object], name: str, defaults: _Defaults) -> str | None:
    value = entry.get(name)
    if value is None or isinstance(value, str):
        return value
    raise defaults.error(f"{name} has to be text.")


def _host_port(text: str, defaults: _Defaults) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise defaults.error("an IPv6 address with a port is written [::1]:5672.")
        if not _is_ipv6(host):
            raise defaults.error("what is between [ and ] is not an IPv6 address.")
        return host, _port(tail[1:], defaults) if tail else None
    if text.count(":") > 1 and _is_ipv6(text):
        return text, None
    host, colon, port = text.partition(":")
    return _host(host, defaults), _port(port, defaults) if colon else None


def _host(text: str, defaults: _Defaults) -> str:
    if _is_ipv6(text) or _HOST.fullmatch(text):
        return text
    if not text:
        raise defaults.error("the host name is missing.")
    # The text is not repeated: it may be a piece of a password with a stray @ or / in it.
    raise defaults.error("the host name has a character that no host name has.")


def _port(text: str, defaults: _Defaults) -> int:
    if text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65536:
        return int(text[:6])
    # The text is not repeated: in scheme://user:password without a host it is the password.
    raise defaults.error(
        f"the port is not a number from 1 to 65535 (a full address is {defaults.scheme}://user:password@host:port)."
    )


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _decode(text: str) -> str:
    """Percent-decode. What is no escape stays, and so does the whole if it would not be UTF-8."""
    if "%" not in text:
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How to check the broker, and how to prove ourselves to it. TLS 1.2 or newer, always.

    :param ca_file: PEM file of the authorities to trust; ``None`` trusts those of the system.
    :param cert_file: PEM file of our own certificate, for brokers that ask for one.
    :param key_file: PEM file of its key, unless that is in ``cert_file`` too.
    :param key_password: opens an encrypted key.
    :param check_hostname: whether the broker's certificate has to name the host we connect to.
    :param verify: whether the broker's certificate is checked at all. Turning it off is for trials only.
    """

    ca_file: str | os.PathLike[str] | None = None
    cert_file: str | os.PathLike[str] | None = None
    key_file: str | os.PathLike[str] | None = None
    key_password: Secret | None = None
    check_hostname: bool = True
    verify: bool = True
    where: str = field(default="TLS", compare=False)

    def context(self) -> ssl.SSLContext:
        """A new client context. Reads the files, so it is called when a connection is made and not before.

        :raises ConfigError: a file is missing, not readable, not PEM, or key and certificate do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.check_hostname and self.verify
        context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        if self.ca_file is not None:
            self._readable("CA file", self.ca_file)
            try:
                context.load_verify_locations(cafile=self.ca_file)
            except (ssl.SSLError, OSError):
                raise self._error(f"CA file {os.fspath(self.ca_file)} holds no certificate in PEM format.") from None
        elif self.verify:
            context.load_default_certs()
        if self.cert_file is not None:
            self._load_own(context, self.cert_file)
        elif self.key_file is not None:
            raise self._error("there is a key file but no certificate file; name both.")
        return context

    def _load_own(self, context: ssl.SSLContext, cert_file: str | os.PathLike[str]) -> None:
        self._readable("certificate file", cert_file)
        if self.key_file is not None:
            self._readable("key file", self.key_file)
        key = os.fspath(self.key_file or cert_file)
        asked: list[bool] = []

        # Always given: without it OpenSSL would ask on the terminal, and block. That it is called tells an encrypted
        # key from a file that is no key, which OpenSSL's own error does not.
        def password() -> str:
            asked.append(True)
            return self.key_password.reveal() if self.key_password else ""

        try:
            context.load_cert_chain(cert_file, self.key_file, password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                problem = f"key file {key} does not belong to certificate file {os.fspath(cert_file)}."
            elif asked:
                problem = f"key file {key} is encrypted, and the key password does not open it."
            else:
                problem = f"certificate file {os.fspath(cert_file)} and key file {key} are not both in PEM format."
            raise self._error(problem) from None
        except (OSError, ValueError) as error:
            raise self._error(f"certificate file {os.fspath(cert_file)} cannot be used: {error}.") from None

    def _readable(self, kind: str, path: str | os.PathLike[str]) -> None:
        try:
            with open(path, "rb"):
                pass
        except FileNotFoundError:
            raise self._error(f"{kind} {os.fspath(path)} does not exist.") from None
        except OSError as error:
            raise self._error(f"{kind} {os.fspath(path)} cannot be read: {error.strerror}.") from None

    def _error(self, problem: str) -> ConfigError:
        return ConfigError(f"{self.where}: {problem}")
