"""Where the embedded broker does not do what RabbitMQ does, each with its reason. Nothing else may differ.

The list is strict both ways: cases assert the exact behaviour of each broker, so a difference that is gone fails the run, and
so does a new one. docs/reference/embedded-brokers.md has the same list for the reader.
"""

from __future__ import annotations

from dataclasses import dataclass

# Cases by name, as pytest shows them with the broker's name left out of the brackets, that fail on the embedded broker.
DIFFERENCES: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Ending:
    """The code of Connection.Close that each broker ends a connection with; None: it hangs up without one."""

    embedded: int | None
    rabbitmq: int | None
    reason: str

    def of(self, broker: str) -> int | None:
        """The code that this broker has to send."""
        return self.embedded if broker == "embedded" else self.rabbitmq


# RabbitMQ's reader crashes or keeps silent here; a client's author is helped by the reason, and the specification has a code.
ENDINGS: dict[str, Ending] = {
    "unknown method": Ending(503, None, "RabbitMQ's reader crashes on a method that does not exist; 503 says what is wrong"),
    "unknown type in a table": Ending(501, None, "RabbitMQ's reader crashes on a field type that does not exist; 501 says so"),
    "login that cannot be read": Ending(
        403, None, "RabbitMQ hangs up after 3 s; 403 at once to who announced that it listens"
    ),
    "limits out of bounds": Ending(530, None, "RabbitMQ hangs up after 3 s and tells its log alone; 530 tells the client"),
}
