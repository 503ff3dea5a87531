"""Trying an address before relying on it: a connection that is made and closed again, and that a stop interrupts."""

from __future__ import annotations

from pylib.brokers.addresses import Address
from pylib.brokers.pika import parameters_for
from pylib.brokers.pika_errors import RabbitUnavailable, translate
from pylib.brokers.pika_loop import Connection, PikaLoop
from pylib.brokers.rabbit_values import RabbitOptions
from pylib.errors import DependencyError
from pylib.runtime.latch import Latch
from pylib.runtime.loop import READ, Loop

__all__ = ["probe_rabbit"]

# Time for pika to let go of its socket once everything is said.
_LAST_ROUND = 0.005
# The same for a connection that is still being made, where a name look-up may have to end first.
_HANG_UP = 0.1


def probe_rabbit(options: RabbitOptions, latch: Latch) -> None:
    """Connect to the first address that answers, and say goodbye. Blocks the calling thread, at most the connect time-out
    for each address; a stop ends it at once.

    Raises ``RabbitUnavailable``, which is also pika's ``AMQPConnectionError``, when none answers. ``ConfigError`` for TLS
    files that cannot be used.
    """
    problems: list[str] = []
    for address in options.addresses:
        who = f"RabbitMQ at {address.host}:{address.port}"
        failure = _try(options, address, who, latch)
        if failure is None:
            return
        problems.append(str(failure))
        if latch.tripped:
            break
    raise RabbitUnavailable("; ".join(problems))


def _try(options: RabbitOptions, address: Address, who: str, latch: Latch) -> DependencyError | None:
    """One attempt, on a loop that lives as long as it. None if RabbitMQ let us in."""
    loop = Loop()
    outcome: list[DependencyError | None] = []
    let_in: list[bool] = []

    def opened(connection: Connection) -> None:
        let_in.append(True)
        connection.close()

    def failed(connection: object, error: BaseException | str) -> None:
        outcome.append(None if let_in else translate(error, who, address))
        loop.call_later(_LAST_ROUND, loop.stop)

    loop.watch(latch.gate.fileno(), READ, lambda mask: loop.stop())
    shim = PikaLoop(loop)
    shim.on_error = lambda error: failed(None, error)
    try:
        Connection(loop, shim, parameters_for(options, address), on_open_callback=opened, on_open_error_callback=failed,
                   on_close_callback=failed)  # fmt: skip
        loop.run()
        stopped = not outcome
        if stopped:  # take the half-made connection down before the loop goes
            loop.unwatch(latch.gate.fileno())
            shim.hang_up()
            loop.call_later(_HANG_UP, loop.stop)
            loop.run()
    finally:
        loop.close()
    return outcome[0] if not stopped else RabbitUnavailable(f"{who}: stopped while connecting")
