"""Deliveries from a broker into pipes, each with a receipt; acknowledged when the receipt settles, in order of arrival."""

from __future__ import annotations

import logging
import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pylib.brokers.lines import TRY_AGAIN, Entry, Leg, Lines
from pylib.brokers.pipe_end import PipeEnd
from pylib.brokers.port import Delivery, Port
from pylib.brokers.retrying import Retrying
from pylib.brokers.turns import OutOfTurn
from pylib.errors import MessageError, Rejected
from pylib.runtime.hops import Hops
from pylib.runtime.loop import Loop
from pylib.runtime.receipts import Receipt, Receipts
from pylib.runtime.sockets import Socket

__all__ = ["Inflow", "OrderKey", "Route", "one_key", "one_sink"]

log = logging.getLogger("pylib.bridge")

#: Which pipes a delivery goes down, by name, and what is sent down each. Empty: nowhere. A MessageError: set it aside.
Route = Callable[[Delivery], Sequence[tuple[str, object]]]

#: What keeps deliveries in order in a pipe when some of them fail: asked with the pipe's name.
OrderKey = Callable[[str, Delivery], str]

# Header of a stored letter that says which pipe it goes down.
_ROUTE: Final = "pylib-route"


def one_sink(decode: Callable[[Delivery], object]) -> Route:
    """The route of a bridge with one pipe: down it goes what ``decode`` returns, and nothing for None."""

    def route(delivery: Delivery) -> Sequence[tuple[str, object]]:
        made = decode(delivery)
        return () if made is None else (("", made),)

    return route


def one_key(order_key: Callable[[Delivery], str] | None, pipe_order: OrderKey | None) -> OrderKey | None:
    """One of the two ways to say what keeps messages in order, as a bridge wants it."""
    if order_key is None or pipe_order is not None:
        return pipe_order
    return lambda pipe, delivery: order_key(delivery)


class Inflow:
    """The way in. Never blocks and never stops reading: what a pipe has no room for waits at its end, and the broker is kept
    in check by the acknowledgements that it does not get.

    A failure is committed to the retry store, so that only messages of the same key wait for it and the window moves on; what
    comes back out of turn (``pylib.brokers.turns``) is stored behind it, and so is whatever arrives meanwhile.
    Belongs to the loop's thread, but for ``_settled``, which any holder's thread calls.
    """

    def __init__(
        self, loop: Loop, port: Port, sinks: Mapping[str, Socket], receipts: Receipts, route: Route, who: str,
        order_key: OrderKey | None = None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._port = port
        self._ends = {name: PipeEnd(loop, socket, receipts, who) for name, socket in sinks.items()}
        self._receipts = receipts
        self._hops = receipts.hops
        self._route = route
        self._who = who
        self._order_key = order_key
        self._retrying: Retrying | None = None
        # Deliveries without acknowledgement yet, in order of arrival.
        self._arrived: deque[Entry] = deque()
        # Receipts that settled, handed over by other threads; None where the stop was asked for.
        self._back: deque[Receipt | None] = deque()
        self._lines = Lines(loop, self._again, self._settle, self._acknowledge, self._letter_of)
        self._open_lines = self._lines.open
        self._key_failed = False
        self._posted = False
        self._stopping = False
        self.received = 0

    def retry_with(self, make: Callable[[Callable[[Delivery, int], None]], Retrying]) -> None:
        """Give failures a place to go. On the loop's thread."""
        self._lines.retrying = self._retrying = make(self._retry)
        self._retrying.open()

    @property
    def outstanding(self) -> int:
        """Deliveries not acknowledged yet."""
        return len(self._arrived)

    @property
    def waiting(self) -> int:
        """Messages that found no room in their pipe yet. Any thread may ask."""
        return sum(end.waiting for end in self._ends.values())

    def take(self, delivery: Delivery) -> None:
        """A delivery has arrived."""
        self.received += 1
        if self._hops is not None:
            delivery = self._traced(self._hops, delivery)
        try:
            self._check_life(delivery)
            legs = self._route(delivery)
            pickled = [(name, pickle.dumps(made, pickle.HIGHEST_PROTOCOL)) for name, made in legs]
        except Exception as error:  # whatever a decoder trips over must not cost the thread: the message is at fault
            self._undecodable(delivery, error)
            return
        entry = None
        if delivery.tag:
            entry = Entry(delivery, len(pickled))
            self._arrived.append(entry)
            if not pickled:
                self._loop.defer(self._acknowledge)
        retrying = self._retrying
        for name, frame in pickled:
            leg = Leg(delivery, name, entry)
            if entry is not None:
                entry.parts.append(leg)
            waiting = self._open_lines or (retrying is not None and retrying.busy)
            if not waiting or not self._lines.holds(leg, self._key(leg)):
                self._push(leg, frame)

    def forget(self) -> None:
        """The connection is gone: what it delivered will come again, so nothing of it is acknowledged any more."""
        self._arrived.clear()

    def stop_asked(self) -> None:
        """What fails from this very moment on may be the stop's doing, however late the loop's thread hears of it: it is not
        acknowledged, and comes again. Any thread. Otherwise a hub that is not the active one any more would keep for another
        try of its own what its broker gives to the active one, or has from it already.
        """
        self._back.append(None)

    def stopping(self) -> None:
        """Take nothing more care of failures. What failed before ``stop_asked`` did so by itself, and is stored."""
        self._collect()
        self._stopping = True
        for leg in self._lines.stopping():
            self._abandon(leg)

    def give_up_waiting(self) -> None:
        """The pipes have ended: what found no room in them will find none any more."""
        for end in self._ends.values():
            end.give_up()

    def close(self) -> None:
        """No more failures are taken care of."""
        if self._retrying is not None:
            self._retrying.close()
            self._lines.retrying = self._retrying = None

    def _traced(self, hops: Hops, delivery: Delivery) -> Delivery:
        """The delivery with its trace among its headers: so it is in the retry store too, and before the handler."""
        return _with_headers(delivery, hops.arrived(self._who, self._port.name, delivery.address, delivery.headers))

    # -- out into the pipes ------------------------------------------------------------------------------------------

    def _check_life(self, delivery: Delivery) -> None:
        if delivery.expires_at is not None:
            late = self._loop.time() - delivery.expires_at
            if late >= 0:
                raise _TooLate(f"it expired {late:.1f} s ago")

    def _push(self, leg: Leg, frame: bytes) -> None:
        receipt = self._receipts.open(self._settled, leg, leg.delivery.address)
        if self._hops is not None:
            self._hops.carry(receipt, leg.delivery.headers)
        frame = self._receipts.enclose(frame, receipt)
        if not self._ends[leg.route].send(frame, droppable=leg.entry is None and not leg.letter):
            self._receipts.open_receipts.pop(receipt.ident, None)

    def _retry(self, delivery: Delivery, letter: int) -> None:
        """A letter is due: down the pipe that it failed in, and no other."""
        headers = dict(delivery.headers or {})
        wanted = str(headers.pop(_ROUTE, ""))
        delivery = _with_headers(delivery, headers)
        leg = Leg(delivery, wanted, None, letter)
        try:
            legs = [(name, made) for name, made in self._route(delivery) if _handler(name) == wanted]
            frames = [(name, pickle.dumps(made, pickle.HIGHEST_PROTOCOL)) for name, made in legs]
        except Exception as error:
            self._failed(leg, error)
            return
        if frames and frames[0][0] in self._ends:
            leg.route, frame = frames[0]
            self._push(leg, frame)
        elif wanted or "" not in self._ends:
            self._failed(leg, Rejected(f"nobody called {wanted!r} takes messages from {delivery.address!r} any more"))
        elif self._retrying is not None:
            self._retrying.outcome(letter, None, final=True)  # one pipe, and nothing of this goes down it any more

    def _undecodable(self, delivery: Delivery, error: Exception) -> None:
        """It goes to the dead letters at once; what is only too late is dropped on purpose."""
        entry = Entry(delivery, 1)
        if delivery.tag:
            self._arrived.append(entry)
        if isinstance(error, _TooLate):
            log.warning("%s: a message on %s was dropped: %s.", self._who, delivery.address, error)
            entry.legs = 0
            self._loop.defer(self._acknowledge)
        else:
            leg = Leg(delivery, "", entry)
            entry.parts.append(leg)
            self._bury(leg, error)

    # -- back from the pipes -----------------------------------------------------------------------------------------

    def _settled(self, receipt: Receipt) -> None:
        """Any thread: hand the receipt back to the loop, once per batch."""
        self._back.append(receipt)
        if not self._posted:
            self._posted = True
            self._loop.post(self._collect)

    def _collect(self) -> None:
        self._posted = False
        back = self._back
        while back:
            receipt = back.popleft()
            if receipt is None:
                self._stopping = True
                continue
            leg: Any = receipt.token
            error = receipt.error
            if error is not None:
                self._failed(leg, error)
            elif not leg.letter:
                self._settle(leg)
            elif self._retrying is not None:
                self._retrying.outcome(leg.letter, None, final=True)
        self._acknowledge()

    def _settle(self, leg: Leg) -> None:
        """It was handled, or is stored."""
        if leg.line is not None:
            self._lines.left(leg)
        entry = leg.entry
        if entry is not None:
            leg.entry = None
            entry.legs -= 1

    def _failed(self, leg: Leg, error: BaseException) -> None:
        hopeless = isinstance(error, MessageError)
        retrying = self._retrying
        if self._stopping and not hopeless:
            if leg.letter and retrying is not None:
                retrying.put_back(leg.letter)
            self._abandon(leg)
        elif leg.letter:
            if retrying is not None:
                retrying.outcome(leg.letter, error, final=hopeless)
        elif hopeless:
            self._bury(leg, error)
        else:
            key, handler = self._key(leg), _handler(leg.route)
            self._lines.failed(leg, key, None if isinstance(error, OutOfTurn) else error, self._arrived,
                               lambda other: _handler(other.route) == handler and self._key(other) == key)  # fmt: skip

    def _abandon(self, leg: Leg) -> None:
        """It stays unacknowledged and comes again; so does everything after it, since acknowledgements keep the order."""
        if leg.line is not None:
            self._lines.give_up(leg.line)
        arrived, entry = self._arrived, leg.entry
        if entry is not None and entry in arrived:
            while arrived.pop() is not entry:
                pass

    def _bury(self, leg: Leg, error: BaseException) -> None:
        retrying = self._retrying
        if retrying is None:
            log.warning("%s: a message on %s was set aside: %s: %s",
                        self._who, leg.delivery.address, type(error).__name__, error)  # fmt: skip
        elif not retrying.bury(self._letter_of(leg), self._key(leg), error):
            self._loop.call_later(TRY_AGAIN, lambda: self._bury(leg, error))
            return
        self._settle(leg)
        self._loop.defer(self._acknowledge)

    def _again(self, leg: Leg) -> None:
        """It failed and cannot be stored: down its pipe once more, unacknowledged, and marked so that nobody refuses it."""
        delivery = msgspec.structs.replace(leg.delivery, tag=0, redelivered=True)
        try:
            self._check_life(delivery)
            frames = [pickle.dumps(made, pickle.HIGHEST_PROTOCOL) for name, made in self._route(delivery) if name == leg.route]
        except Exception as error:
            self._bury(leg, error)
            return
        if frames:
            self._push(leg, frames[0])
        else:  # nothing of it goes down this pipe any more
            self._settle(leg)
            self._loop.defer(self._acknowledge)

    def _acknowledge(self) -> None:
        """Acknowledge in order of arrival (MQTT 5 section 4.6), as far as everything before is done."""
        arrived = self._arrived
        done = []
        while arrived and arrived[0].legs <= 0:
            done.append(arrived.popleft().delivery)
        if done:
            self._port.settle(done)

    def _key(self, leg: Leg) -> str:
        """What keeps messages in order: one key's wait for each other, in each pipe for itself."""
        key = leg.delivery.address
        if self._order_key is not None:
            try:
                key = str(self._order_key(leg.route, leg.delivery))
            except Exception as error:  # what keeps messages in order is no reason to lose one
                if not self._key_failed:
                    self._key_failed = True
                    log.error("%s: the order key failed on a message on %s (%s: %s); such messages are kept in order by their "
                              "address.", self._who, key, type(error).__name__, error)  # fmt: skip
        return f"{_handler(leg.route)}|{key}" if leg.route else key

    def _letter_of(self, leg: Leg) -> Delivery:
        if not leg.route:
            return leg.delivery
        return _with_headers(leg.delivery, {**(leg.delivery.headers or {}), _ROUTE: _handler(leg.route)})


def _handler(pipe: str) -> str:
    """Whose pipe it is: ``water#2`` is the second one of ``water``, which may have more or fewer after the next start."""
    return pipe.partition("#")[0]


class _TooLate(MessageError):
    """The message's life was over before it was delivered."""


def _with_headers(delivery: Delivery, headers: Mapping[str, Any]) -> Delivery:
    return msgspec.structs.replace(delivery, headers=headers or None)
