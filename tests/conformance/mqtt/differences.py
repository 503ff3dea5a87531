"""Where the embedded broker and Mosquitto 2.0 do not behave the same, each with its reason. There are no others that we know.

A case named here has to fail on the broker it names, or the suite fails: a difference that is gone is taken out. The page
docs/reference/embedded-brokers.md has the same list in words, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """``test`` is the name of the case, its broker included; ``reason`` is the sentence that the documentation has too."""

    test: str
    reason: str


_VIOLATION = "test_a_violation_ends_its_connection_and_no_other[mosquitto-{}]"

DIFFERENCES = (
    Difference(
        "test_overlapping_subscriptions_give_the_highest_qos_of_them[mosquitto-falling]",
        "Of overlapping subscriptions the embedded broker takes the highest QoS (MQTT 3.1.1 section 3.3.5); Mosquitto takes "
        "that of the first one it finds.",
    ),
    Difference(
        _VIOLATION.format("SUBACK from a client"),
        "Mosquitto takes a SUBACK from a client, since it may be a bridge; the embedded broker closes the connection.",
    ),
    Difference(
        _VIOLATION.format("PINGREQ with flags"),
        "Mosquitto answers a PINGREQ whose reserved flags are set; the embedded broker closes the connection.",
    ),
)
