"""A thread that owns a port, and a record of everything the port said to its owner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar

from pylib.brokers.port import Delivery, Outgoing, Port
from pylib.errors import DependencyError
from pylib.runtime.loop import Loop

__all__ = ["PortThread"]

T = TypeVar("T")

_PATIENCE = 20.0


class PortThread:
    """Runs a port on a loop of its own. The lists may be read by any thread; ``until`` waits for them to grow.

    Leaving the context aborts the port if it was not closed, and raises what ended the loop, if anything did.
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self.ups = 0
        self.downs: list[tuple[DependencyError, float | None]] = []
        self.deliveries: list[Delivery] = []
        self.outcomes: list[tuple[object, Exception | None]] = []
        self.closed = 0
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self._loop = Loop()
        self._thread = threading.Thread(target=self._live, name="port under test", daemon=True)

    # -- PortOwner, on the port's thread -----------------------------------------------------------------------------

    def on_up(self) -> None:
        self.ups += 1
        self._tell()

    def on_down(self, error: DependencyError, retry_in: float | None) -> None:
        self.downs.append((error, retry_in))
        self._tell()

    def on_delivery(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self._tell()

    def on_outcome(self, token: object, error: Exception | None) -> None:
        self.outcomes.append((token, error))
        self._tell()

    def on_room(self) -> None:
        self._tell()

    # -- the test, on its own thread ---------------------------------------------------------------------------------

    def call(self, function: Callable[[], T]) -> T:
        """Run a function on the port's thread and return what it returned."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self._loop.post(run)
        return future.result(_PATIENCE)

    def publish(self, messages: Sequence[tuple[Outgoing, object]]) -> None:
        """Publish messages with their tokens, all in one go."""

        def all_of_them() -> None:
            for message, token in messages:
                self.port.publish(message, token)

        self.call(all_of_them)

    def settle(self, deliveries: Sequence[Delivery], *, accept: bool = True) -> None:
        self.call(lambda: self.port.settle(deliveries, accept=accept))

    def until(self, condition: Callable[[Self], bool], timeout: float = _PATIENCE) -> None:
        """Wait until the condition holds, looking at it each time the port has said something."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self) or self.failure is not None, timeout):
                raise AssertionError(f"not in time: {self.ups=} {self.downs=} {len(self.deliveries)=} {self.outcomes[-3:]=}")
        if self.failure is not None:
            raise AssertionError("an exception left the port") from self.failure

    def until_up(self, times: int = 1) -> None:
        self.until(lambda me: me.ups >= times)

    def answered(self, tokens: Sequence[object]) -> bool:
        """Whether every one of the tokens has its outcome."""
        return {token for token, _ in self.outcomes}.issuperset(tokens)

    def close(self) -> None:
        """Close the port by the book and wait for its word."""
        self.call(lambda: self.port.close(self._on_closed))
        self.until(lambda me: me.closed > 0)

    def __enter__(self) -> Self:
        self._thread.start()
        self.call(lambda: self.port.open(self._loop, self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._thread.is_alive():
            if not self.closed:
                self.call(self.port.abort)
            # One more round, in which the client library finds its sockets shut.
            self.call(lambda: self._loop.call_later(0.02, self._loop.stop))
        self._thread.join(_PATIENCE)
        if self.failure is not None and kind is None:
            raise AssertionError("an exception left the port") from self.failure

    def _on_closed(self) -> None:
        self.closed += 1
        self._tell()

    def _live(self) -> None:
        try:
            self._loop.run()
        except BaseException as error:
            self.failure = error
        finally:
            self._loop.close()
            self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
