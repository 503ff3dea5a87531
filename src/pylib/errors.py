"""Everything this library raises, in one tree.

PylibError
├── ConfigError                     a setting is missing or wrong; says which file, section and option
├── DependencyError                 something outside is away; also a ResourceWarning, as the first listings raise it
│   ├── ConnectFailed               it never answered
│   │   └── AccessRefused           it answered and refused us: credentials, permission, TLS; trying again is no help
│   └── ConnectionLost              it answered and then went away
├── MessageError                    one message is at fault; it is set aside and the thread lives
│   ├── DecodeError                 its bytes are not what they claim to be
│   └── Rejected                    it was understood and refused (by a handler, a broker or a limit)
├── ThreadDied                      an application thread ended without being asked to
└── ShutdownTimeout                 something did not stop within its deadline

Foreign errors (paho, pika, zmq, ssl) are translated into this tree in ``pylib.brokers`` and nowhere else.
"""

from __future__ import annotations

__all__ = [
    "AccessRefused",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "DecodeError",
    "DependencyError",
    "MessageError",
    "PylibError",
    "Rejected",
    "ShutdownTimeout",
    "ThreadDied",
]


class PylibError(Exception):
    """Base of every error raised by this library."""


class ConfigError(PylibError):
    """A setting is missing or unusable. The message says what to fix and where."""


class DependencyError(PylibError, ResourceWarning):
    """Something the application depends on is away.

    A ``ResourceWarning`` by inheritance: such an error stops or reconnects, and never files a crash report.
    """


class ConnectFailed(DependencyError):
    """No connection could be made. The message says where and why."""


class AccessRefused(ConnectFailed):
    """The other side answered and refused us: user, password, permission, virtual host or certificate.

    Somebody has to change something, so it is not tried again in a tight loop.
    """


class ConnectionLost(DependencyError):
    """An established connection ended without being asked to."""


class MessageError(PylibError):
    """One message is at fault. It is set aside with its reason; the thread that met it lives on."""


class DecodeError(MessageError):
    """The bytes of a message are not valid in the format they claim, or exceed the limits on size and depth."""


class Rejected(MessageError):
    """A message was understood and refused."""


class ThreadDied(PylibError):
    """An application thread raised, or returned although nobody had asked it to stop."""


class ShutdownTimeout(PylibError):
    """Something did not stop within its deadline. The message names the thread, its stack and its sockets."""
