"""Where the embedded broker does not do what RabbitMQ does, by case, each with its reason.

The list is strict: a case that is listed here and passes fails the run, so nothing stays on it longer than it is true.
The page docs/reference/embedded-brokers.md has the same list for the reader.
"""

from __future__ import annotations

# The case's name as pytest shows it, with the broker's name left out of the brackets.
DIFFERENCES: dict[str, str] = {}
