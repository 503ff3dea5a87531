"""What the doctor finds: a stable code, how bad it is, a sentence, and what to do. ``CODES`` has them all."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["CODES", "ERROR", "NOTE", "WARNING", "Finding", "Report", "Severity"]

Severity = Literal["error", "warning", "note"]
ERROR: Final = "error"
WARNING: Final = "warning"
NOTE: Final = "note"

#: Every code with what it stands for. A code never changes its meaning; programs may rely on it.
CODES: Final[dict[str, str]] = {
    "CONFIG": "the settings cannot be read, or an option is unusable",
    "CONFIG-NOTHING": "no broker is configured",
    "EXTRA-MISSING": "a package is not installed that the settings ask for",
    "NAME-UNKNOWN": "the broker's host name cannot be resolved",
    "NO-ROUTE": "there is no way to the broker's host",
    "REFUSED": "nothing listens at the broker's address for us",
    "TIMEOUT": "the broker's host does not answer",
    "HANGS-UP": "the connection is accepted and closed without an answer",
    "WRONG-PROTOCOL": "another protocol is spoken on the port",
    "TLS-EXPECTED": "the port speaks TLS and the address does not say so",
    "TLS-MISSING": "the address asks for TLS and the port does not speak it",
    "TLS-UNKNOWN-CA": "the broker's certificate is from an authority that is not trusted",
    "TLS-EXPIRED": "the broker's certificate has expired",
    "TLS-EXPIRES-SOON": "the broker's certificate expires within 30 days",
    "TLS-NOT-YET": "the broker's certificate is not valid yet",
    "TLS-WRONG-HOST": "the broker's certificate is for another host name",
    "TLS-CLIENT-CERTIFICATE": "the broker wants a certificate from us",
    "TLS-FAILED": "TLS failed for another reason",
    "PLAIN-PASSWORD": "the password travels without TLS over a network",
    "MQTT-CREDENTIALS": "user or password are refused",
    "MQTT-ANONYMOUS": "the broker wants a user and none is given",
    "MQTT-REFUSED": "the broker refuses us for another reason",
    "MQTT-OLD": "the broker speaks no MQTT 5",
    "MQTT-VERSION-OLD": "this Mosquitto is too old",
    "MQTT-SUBSCRIBE-DENIED": "a subscription is refused",
    "MQTT-READ-DENIED": "a subscription is granted and nothing comes of it",
    "MQTT-PUBLISH-DENIED": "publishing is refused",
    "MQTT-CANARY-DENIED": "whether a subscription works could not be tried",
    "MQTT-CANARY-LOST": "a message of our own did not come back, and MQTT 3.1.1 does not say why",
    "MQTT-QOS-LOWER": "a lower QoS is granted than is asked for",
    "MQTT-NO-RETAIN": "retained messages are off",
    "MQTT-NO-SHARED": "shared subscriptions are off",
    "MQTT-SESSION-SHORT": "the broker keeps sessions for less time than is asked for",
    "MQTT-SMALL-PACKETS": "the broker takes only small messages",
    "MQTT-FORGETS": "the broker has forgotten a session that it should have kept",
    "MQTT-PERSISTENCE": "Mosquitto's settings do not keep anything over a restart",
    "MQTT-AUTOSAVE": "Mosquitto saves rarely, so a kill loses what came since",
    "MQTT-CLIENT-ID-TWICE": "two clients use one client id",
    "AMQP-CREDENTIALS": "user or password are refused",
    "AMQP-GUEST-REMOTE": "guest may only log in from the broker's own machine",
    "AMQP-VHOST-MISSING": "the virtual host does not exist",
    "AMQP-VHOST-DENIED": "the user may not use the virtual host",
    "AMQP-REFUSED": "RabbitMQ refuses us for another reason",
    "AMQP-EXCHANGE-DIFFERS": "the exchange exists with another type or other properties",
    "AMQP-EXCHANGE-DENIED": "the exchange may not be declared",
    "AMQP-PUBLISH-DENIED": "publishing to the exchange is not permitted",
    "AMQP-BIND-DENIED": "binding a queue to the exchange is not permitted",
    "AMQP-QUEUE-DIFFERS": "the queue exists with other properties",
    "AMQP-QUEUE-DENIED": "the queue may not be declared",
    "AMQP-BLOCKED": "an alarm (memory or disk) stops all publishing",
    "AMQP-VERSION-OLD": "this RabbitMQ is out of support",
    "AMQP-VERSION-4": "what is different in RabbitMQ 4",
    "AMQP-NOT-RABBITMQ": "it is another AMQP 0-9-1 broker",
    "TOPIC-INVALID": "a configured topic filter or binding key is malformed",
    "TOPIC-DOTS": "topics with dots have other routing keys than they seem",
    "TOPIC-DOLLAR": "topics that start with $ are not matched by wildcards",
    "KEY-WILDCARD": "a binding key has a wildcard that is none",
    "STATE-PERMISSION": "the state folder cannot be written",
    "STATE-OPEN": "others may write in the state folder",
    "STATE-SHARED": "two running applications share a state folder",
    "DISK-LOW": "little room is left on the disk of the state folder",
    "DISK-FULL": "next to no room is left on the disk of the state folder",
    "SPOOL-WAITING": "messages wait in a spool",
    "SPOOL-FULL": "a spool is full, or nearly so",
    "DEAD-LETTERS": "messages were given up",
    "APPLICATION": "the running application says that something is wrong",
    "CLOCK-WRONG": "this machine's clock is wrong",
    "CLOCK-UNSYNCHRONISED": "nothing keeps this machine's clock right",
    "CLOCK-OTHERS": "a sender's clock is ahead of ours",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``about`` names the part, ``what`` is a sentence, ``fix`` says what to do."""

    code: str
    severity: Severity
    about: str
    what: str
    fix: str

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.code} is not among CODES")


class Report:
    """Gathers findings, and what was tried and is well. For one thread."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.well: list[str] = []

    def error(self, code: str, about: str, what: str, fix: str) -> None:
        """It will not work."""
        self._add(code, ERROR, about, what, fix)

    def warning(self, code: str, about: str, what: str, fix: str) -> None:
        """It works, and will not under some circumstances."""
        self._add(code, WARNING, about, what, fix)

    def note(self, code: str, about: str, what: str, fix: str) -> None:
        """Good to know."""
        self._add(code, NOTE, about, what, fix)

    def ok(self, about: str, what: str) -> None:
        """This was tried, and works."""
        self.well.append(f"{about}: {what}")

    @property
    def healthy(self) -> bool:
        """Whether nothing is an error."""
        return all(finding.severity != ERROR for finding in self.findings)

    def _add(self, code: str, severity: Severity, about: str, what: str, fix: str) -> None:
        finding = Finding(code=code, severity=severity, about=about, what=what, fix=fix)
        if finding not in self.findings:
            self.findings.append(finding)
