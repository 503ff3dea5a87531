"""What a handler failed on: to the retry store first, back into the pipe when it is due, to the dead letters in the end."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pylib.brokers.port import Delivery
from pylib.delivery.doorbell import Doorbell
from pylib.delivery.letters import Letter
from pylib.delivery.retry import RetryStore
from pylib.delivery.sqlite import StoreBroken, StoreFull
from pylib.runtime.loop import READ, Loop, Timer

__all__ = ["DEFAULT_RETRY", "RetryPolicy", "Retrying"]

log = logging.getLogger("pylib.delivery")

# Seconds until a store that would not take something is asked again.
TRY_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a message is tried, the first time included, and how long the waits between are: doubling from ``first``
    to ``longest`` seconds. By default the last try comes about a minute after the first.
    """

    tries: int = 12
    first: float = 0.1
    longest: float = 10.0

    def delay(self, tries: int) -> float:
        """Seconds to wait after so many tries."""
        return min(self.longest, self.first * 2.0 ** min(tries - 1, 30))


DEFAULT_RETRY = RetryPolicy()


class Retrying:
    """The failed messages of one bridge. Belongs to the loop's thread.

    Guarantee: what ``keep`` and ``bury`` return True for is on disk, so the broker may be told that it is
    taken care of. False: the store would not have it, nothing may be acknowledged.
    """

    def __init__(
        self,
        loop: Loop,
        origin: str,
        place: Callable[[], str],
        push: Callable[[Delivery, int], None],
        policy: RetryPolicy,
        path: Path | None,
    ) -> None:
        self._loop = loop
        self._origin = origin
        self._place = place
        self._push = push
        self._policy = policy
        self._store = RetryStore(path, origin, on_open=self._hang_bell)
        self._bell: Doorbell | None = None
        self._timer: Timer | None = None
        # What is being tried: how often it failed before, and its address.
        self._tries: dict[int, tuple[int, str]] = {}
        # What became of it, until the batch is written.
        self._outcomes: list[tuple[int, BaseException | None, bool]] = []
        self._told = False
        self._closed = False
        # Whether anything waits here at all.
        self.busy = False

    def open(self) -> None:
        """See what an earlier run has left to be tried. On the loop's thread."""
        try:
            waiting = len(self._store.waiting_keys())
        except (StoreBroken, StoreFull) as error:
            self._complain(error)
        else:
            self.busy = waiting > 0
            if waiting:
                log.info("%s: failed messages of %d keys wait for another try.", self._origin, waiting)
                self._plan()

    def close(self) -> None:
        """What waits, waits for the next start."""
        self._write_outcomes()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._bell is not None:
            self._loop.unwatch(self._bell.fileno())
            self._bell.close()
        self._store.close()

    def waits(self, key: str) -> bool:
        """Whether a message of this key has to wait behind others. Ask only while ``busy``, which costs nothing."""
        try:
            return key in self._store.waiting_keys()
        except (StoreBroken, StoreFull) as error:
            self._complain(error)
            return False

    def keep(self, deliveries: Sequence[tuple[Delivery, str, BaseException | None]]) -> bool:
        """Messages with their key, in order, at the price of one commit: all of them or none. With an error, one that failed
        for the first time; without, one that has to wait behind others of its key.
        """
        delay = self._policy.delay(1)
        due_at = self._loop.time() + delay
        letters = [
            self._letter(delivery, key, error, tries=error is not None, due_at=due_at if error is not None else 0.0)
            for delivery, key, error in deliveries
        ]
        if not self._stored(letters):
            return False
        for letter in letters:
            if letter.tries:
                log.warning("%s: a message on %s failed (%s); trying again in %.1f s.",
                            self._origin, letter.address, letter.error, delay)  # fmt: skip
        return True

    def bury(self, delivery: Delivery, key: str, error: BaseException) -> bool:
        """A message that no further try can help."""
        letter = self._letter(delivery, key, error, tries=1)
        try:
            ident = self._store.bury(letter)
        except (StoreBroken, StoreFull) as problem:
            self._complain(problem)
            return False
        log.warning(
            "%s: a message on %s was set aside as dead letter %d: %s", self._origin, delivery.address, ident, letter.error
        )
        return True

    def outcome(self, ident: int, error: BaseException | None, final: bool) -> None:
        """What became of a message that was tried again. ``final``: no further try can help. Written once per batch; until
        then, and where it cannot be, the message waits as it did.
        """
        self._outcomes.append((ident, error, final))
        self._loop.defer(self._write_outcomes)

    def put_back(self, ident: int) -> None:
        """It was not tried after all."""
        self._tries.pop(ident, None)
        self._store.put_back(ident)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _write_outcomes(self) -> None:
        if self._closed or not self._outcomes:
            return
        outcomes, self._outcomes = self._outcomes, []
        succeeded = [ident for ident, error, _ in outcomes if error is None]
        failed = [(ident, error, final) for ident, error, final in outcomes if error is not None]
        try:
            if succeeded:
                self._store.succeeded_many(succeeded)
                for ident in succeeded:
                    self._tries.pop(ident, None)
                succeeded = []
            while failed:
                self._write_failure(*failed[0])
                del failed[0]
        except (StoreBroken, StoreFull) as problem:
            self._complain(problem)
            self._outcomes = [*((ident, None, True) for ident in succeeded), *failed, *self._outcomes]
            self._loop.call_later(TRY_AGAIN, self._write_outcomes)
        self._plan()

    def _write_failure(self, ident: int, error: BaseException, final: bool) -> None:
        tries, address = self._tries.get(ident, (1, ""))
        tries += 1
        if final or tries >= self._policy.tries:
            if self._store.park(ident, _words(error), _trace(error)):
                log.error("%s: a message on %s is dead letter %d after %d tries: %s",
                          self._origin, address or "an unknown topic", ident, tries, _words(error))  # fmt: skip
        else:
            self._store.failed(ident, _words(error), _trace(error), self._loop.time() + self._policy.delay(tries))
        self._tries.pop(ident, None)

    def _stored(self, letters: list[Letter]) -> bool:
        try:
            self._store.put_many(letters)
        except (StoreBroken, StoreFull) as error:
            self._complain(error)
            return False
        self._told = False
        self._plan()
        return True

    def _plan(self) -> None:
        """Set the timer for what is due next."""
        if self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            due = self._store.next_due()
        except (StoreBroken, StoreFull) as error:
            self._complain(error)
            due = self._loop.time() + TRY_AGAIN
        self.busy = due is not None or bool(self._tries)
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - self._loop.time()), self._try_due)

    def _try_due(self) -> None:
        try:
            letters = self._store.due(self._loop.time())
        except (StoreBroken, StoreFull) as error:
            self._complain(error)
            letters = []
        for letter in letters:
            self._tries[letter.ident] = letter.tries, letter.address
            self._push(_delivery(letter), letter.ident)
        self._plan()

    def _hang_bell(self) -> None:
        """From now on a replay by somebody else is heard without looking for it."""
        try:
            self._bell = Doorbell(self._store.path)
        except OSError as error:
            log.info("%s: replays are noticed at the next start only: %s", self._origin, error)
            return
        self._loop.watch(self._bell.fileno(), READ, lambda mask: self._rung())

    def _rung(self) -> None:
        if self._bell is not None and self._bell.drain():
            try:
                self._store.refresh()
            except (StoreBroken, StoreFull) as error:
                self._complain(error)
            self._plan()

    def _letter(
        self, delivery: Delivery, key: str, error: BaseException | None, tries: int = 0, due_at: float = 0.0
    ) -> Letter:
        return Letter(
            origin=self._origin,
            broker=self._place(),
            address=delivery.address,
            key=key,
            body=delivery.body,
            received_at=time.time(),
            message_id=delivery.message_id,
            created_at=delivery.created_at,
            expires_at=delivery.expires_at,
            content_type=delivery.content_type,
            headers=dict(delivery.headers) if delivery.headers else {},
            tries=tries,
            due_at=due_at,
            error=_words(error) if error is not None else "",
            traceback=_trace(error) if error is not None else "",
        )

    def _complain(self, error: StoreBroken | StoreFull) -> None:
        if not self._told:
            self._told = True
            log.error("%s: %s Nothing that fails is acknowledged until it can be stored.", self._origin, error)


def _delivery(letter: Letter) -> Delivery:
    """A letter as it was delivered, but for its acknowledgement, which it has had."""
    headers = {name: value for name, value in letter.headers.items() if value is None or isinstance(value, str | int | float)}
    return Delivery(
        letter.address, letter.body, 0, 0, letter.content_type, letter.message_id, letter.created_at, letter.expires_at,
        headers or None, redelivered=True, qos=1,
    )  # fmt: skip


def _words(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) if error.__traceback__ is not None else ""
