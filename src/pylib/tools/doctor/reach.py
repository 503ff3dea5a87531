"""Getting to a broker: name, connection, TLS, and whether it is the right protocol that answers."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import ssl
import struct
import time
from datetime import UTC, datetime
from typing import Any, Final, cast

import msgspec

from pylib.brokers.addresses import Address, TlsOptions
from pylib.errors import ConfigError
from pylib.tools.doctor.findings import Report

__all__ = ["Greeting", "about", "reach"]

#: Seconds for a connection and for its answer, and days before its end at which a certificate is warned of.
TIMEOUT_S: Final = 5.0
SOON_DAYS: Final = 30
_NAMES: Final = {"mqtt": "MQTT broker", "amqp": "RabbitMQ"}
_USUAL: Final = {"mqtt": "1883, TLS: 8883", "amqp": "5672, TLS: 5671"}
# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_NOT_YET, _EXPIRED, _WRONG_HOST, _WRONG_IP = 9, 10, 62, 64
_MOST_GREETING: Final = 16 * 1024
# MQTT 5 section 3.1: CONNECT, clean start, keep alive 30 s, no properties, no client id.
_CONNECT: Final = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x00"
# AMQP 0-9-1 section 4.2.2.
_AMQP: Final = b"AMQP\x00\x00\x09\x01"
_HEADER: Final = 7


class Greeting(msgspec.Struct, frozen=True):
    """What the broker said first. ``properties`` are RabbitMQ's (connection.start, AMQP 0-9-1 section 1.4.2.1)."""

    properties: dict[str, object] = {}


def about(address: Address) -> str:
    """The broker, as findings name it."""
    return f"{_NAMES[address.scheme]} at {address.host}:{address.port}"


def reach(address: Address, tls: TlsOptions, report: Report) -> Greeting | None:
    """Connect as far as the broker's first word. None where that fails, which is reported then."""
    who = about(address)
    sock = _connected(address, who, report)
    if sock is None:
        return None
    try:
        if address.tls:
            wrapped = _secured(sock, address, tls, who, report)
            if wrapped is None:
                return None
            sock = wrapped
        elif address.password is not None and not _private(sock):
            report.warning(
                "PLAIN-PASSWORD",
                who,
                "user and password travel over the network as they are.",
                f"Have the broker serve TLS and write {address.scheme}s:// in the address.",
            )
        return _greeted(sock, address, tls, who, report)
    finally:
        sock.close()


def _connected(address: Address, who: str, report: Report) -> socket.socket | None:
    try:
        return socket.create_connection((address.host, address.port), TIMEOUT_S)
    except socket.gaierror as error:
        report.error(
            "NAME-UNKNOWN",
            who,
            f"the host name {address.host!r} is not known here ({error.strerror}).",
            "Correct the name in server_address, or use the broker's IP address; in a container use the name of its "
            "service, and see that both are in one network.",
        )
    except ConnectionRefusedError:
        report.error(
            "REFUSED",
            who,
            "the connection was refused: nothing listens there for us.",
            f"Start the broker, and compare the port with its own ({_USUAL[address.scheme]}). {_LISTENS[address.scheme]}",
        )
    except TimeoutError:
        report.error(
            "TIMEOUT",
            who,
            f"there was no answer within {TIMEOUT_S:g} s.",
            "Look whether the host is up and the address right; a firewall that drops packets looks the same.",
        )
    except OSError as error:
        if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            report.error(
                "NO-ROUTE",
                who,
                f"there is no way to it ({error.strerror}).",
                "Look at this machine's network, and at the address.",
            )
        else:
            report.error(
                "TIMEOUT", who, f"it cannot be reached: {error.strerror or error}.", "Look at the address and the network."
            )
    return None


_LISTENS: Final = {
    "mqtt": "A Mosquitto without a listener in its settings serves its own machine alone, in a container that one alone: "
    "give it `listener 1883` and a password_file (or, in a closed network, allow_anonymous true).",
    "amqp": "A RabbitMQ in a container has to publish the port (-p 5672:5672).",
}


def _secured(sock: socket.socket, address: Address, tls: TlsOptions, who: str, report: Report) -> ssl.SSLSocket | None:
    try:
        context = tls.context()
    except ConfigError as error:
        report.error("CONFIG", who, str(error), "Correct the TLS files of this broker in the settings.")
        return None
    try:
        wrapped = context.wrap_socket(sock, server_hostname=address.host)
    except ssl.SSLCertVerificationError as error:
        _distrusted(error, address, who, report)
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
            report.error(
                "TLS-MISSING",
                who,
                "it does not speak TLS on this port.",
                f"Use the broker's TLS port, or {address.scheme}:// for this one ({_USUAL[address.scheme]}).",
            )
        else:
            _failed(error, who, report)
    except ConnectionError:
        report.error(
            "TLS-MISSING",
            who,
            "it hung up at the TLS handshake: the port does not seem to speak TLS.",
            f"Use the broker's TLS port, or {address.scheme}:// for this one ({_USUAL[address.scheme]}).",
        )
    except (OSError, ValueError) as error:
        report.error("TLS-FAILED", who, f"the TLS handshake failed: {error}.", "See the broker's log.")
    else:
        _judge_dates(wrapped, who, report)
        return wrapped
    return None


def _distrusted(error: ssl.SSLCertVerificationError, address: Address, who: str, report: Report) -> None:
    code = error.verify_code
    if code == _EXPIRED:
        report.error(
            "TLS-EXPIRED",
            who,
            "its certificate has expired.",
            "Renew the broker's certificate, and have the broker load it; or set this machine's clock, if it is wrong.",
        )
    elif code == _NOT_YET:
        report.error(
            "TLS-NOT-YET", who, "its certificate is not valid yet.", "Set the clock of this machine, or of who made it."
        )
    elif code in (_WRONG_HOST, _WRONG_IP):
        report.error(
            "TLS-WRONG-HOST",
            who,
            f"its certificate is not for {address.host!r}: {error.verify_message}.",
            "Use a name in the address that the certificate has, or make one that names this host (subjectAltName).",
        )
    else:
        report.error(
            "TLS-UNKNOWN-CA",
            who,
            f"its certificate is not trusted here: {error.verify_message}.",
            "Name the authority's PEM file as tls_ca in the broker's section of the settings (here: --ca FILE).",
        )


def _failed(error: ssl.SSLError, who: str, report: Report) -> None:
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "certificate required" in reason or "handshake failure" in reason or "bad certificate" in reason:
        report.error(
            "TLS-CLIENT-CERTIFICATE",
            who,
            f"it wants a certificate from us ({reason}).",
            "Name one that the broker's authority has signed as tls_cert and tls_key in the settings.",
        )
    else:
        report.error(
            "TLS-FAILED", who, f"TLS was refused: {reason}.", "See the broker's log, and which TLS versions it allows."
        )


def _judge_dates(sock: ssl.SSLSocket, who: str, report: Report) -> None:
    ends = (sock.getpeercert() or {}).get("notAfter")
    if isinstance(ends, str):
        left = ssl.cert_time_to_seconds(ends) - time.time()
        when = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC).date()
        if left < SOON_DAYS * 86400:
            report.warning("TLS-EXPIRES-SOON", who, f"its certificate expires on {when}.", "Renew the broker's certificate.")
        else:
            report.ok(who, f"TLS ({sock.version()}), certificate trusted until {when}")


def _greeted(sock: socket.socket, address: Address, tls: TlsOptions, who: str, report: Report) -> Greeting | None:
    try:
        sock.sendall(_CONNECT if address.scheme == "mqtt" else _AMQP)
        answer = _first(sock)
    except (ssl.SSLEOFError, ConnectionError):
        answer = b""
    except ssl.SSLError as error:
        _failed(error, who, report)
        return None
    except TimeoutError:
        report.error(
            "WRONG-PROTOCOL",
            who,
            f"it accepts the connection and says nothing within {TIMEOUT_S:g} s.",
            f"Look which program has this port; usual are {_USUAL[address.scheme]}.",
        )
        return None
    except OSError:
        answer = b""
    if not answer and address.tls:
        _hung_up(tls, who, report)
        return None
    spoken = _spoken(answer)
    if spoken == address.scheme:
        return _start(answer) if spoken == "amqp" else Greeting()
    if not answer and address.scheme == "mqtt" and _refuses_mqtt_5(address):
        return Greeting()
    if not address.tls and (spoken == "tls" or (spoken is None and _speaks_tls(address))):
        report.error(
            "TLS-EXPECTED",
            who,
            "the port speaks TLS, and the address does not say so.",
            f"Write {address.scheme}s:// in the address, and name the authority's file as tls_ca.",
        )
    elif not answer:
        report.error(
            "HANGS-UP",
            who,
            "it accepts the connection and hangs up without an answer.",
            f"See the broker's log for the reason. {_LISTENS[address.scheme]}",
        )
    else:
        other = _PROTOCOLS.get(spoken or "", "something else")
        report.error(
            "WRONG-PROTOCOL",
            who,
            f"{other} is spoken on this port.",
            f"Correct the port in server_address; usual are {_USUAL[address.scheme]}.",
        )
    return None


_PROTOCOLS: Final = {
    "amqp": "AMQP",
    "mqtt": "MQTT",
    "http": "HTTP (a web page or management)",
    "amqp1": "another version of AMQP",
}


def _hung_up(tls: TlsOptions, who: str, report: Report) -> None:
    """With TLS 1.3 a server sees the client's certificate after the handshake, and some hang up without a word."""
    if tls.cert_file is None:
        what = "it hangs up after the TLS handshake: it seems to want a certificate from us."
        fix = "Name one that the broker's authority has signed as tls_cert and tls_key in the settings."
    else:
        what = "it hangs up after the TLS handshake: it does not seem to accept our certificate."
        fix = "Have the broker's authority sign our certificate, or trust the one that did (Mosquitto: cafile); see its log."
    report.error("TLS-CLIENT-CERTIFICATE", who, what, fix)


def _first(sock: socket.socket) -> bytes:
    """The first packet or frame, or as much of it as comes."""
    answer = b""
    while len(answer) < _MOST_GREETING:
        piece = sock.recv(_MOST_GREETING)
        answer += piece
        if not piece or answer[:1] != b"\x01" or len(answer) < _HEADER:
            break
        if len(answer) > _HEADER + struct.unpack(">L", answer[3:_HEADER])[0]:
            break
    return answer


def _spoken(answer: bytes) -> str | None:
    if answer[:1] == b"\x20" and len(answer) >= 4:  # CONNACK (MQTT 5 section 3.2)
        return "mqtt"
    if answer[:3] == b"\x01\x00\x00":  # a method frame on channel 0 (AMQP 0-9-1 section 4.2.3)
        return "amqp"
    if answer[:4] == b"AMQP":
        return "amqp" if answer == _AMQP else "amqp1"
    if answer[:5] == b"HTTP/":
        return "http"
    return "tls" if answer[:2] == b"\x15\x03" else None


def _start(answer: bytes) -> Greeting | None:
    """The server's properties out of connection.start: class and method, the two versions, then the table."""
    from pika.data import decode_table

    try:
        table, _ = cast("tuple[dict[str, Any], int]", decode_table(answer, _HEADER + 4 + 2))
    except Exception:  # whatever a codec says to a frame that is cut short or none: it is no start of RabbitMQ's
        return Greeting()
    return Greeting(table)


def _refuses_mqtt_5(address: Address) -> bool:
    """Whether it lets MQTT 3.1.1 in where it hangs up on MQTT 5."""
    try:
        with socket.create_connection((address.host, address.port), TIMEOUT_S) as other:
            other.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x1e\x00\x00")
            return _spoken(_first(other)) == "mqtt"
    except OSError:
        return False


def _speaks_tls(address: Address) -> bool:
    """Whether a TLS handshake gets an answer there. Nothing is sent over it, so nothing has to be trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((address.host, address.port), TIMEOUT_S) as sock, context.wrap_socket(sock):
            return True
    except ssl.SSLError as error:
        return (error.reason or "").startswith(("TLSV1", "SSLV3", "TLSV13"))
    except OSError:
        return False


def _private(sock: socket.socket) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return ipaddress.ip_address(sock.getpeername()[0].partition("%")[0]).is_loopback
    return False
