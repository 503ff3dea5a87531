"""Deliveries from a broker into pipes, each with a receipt; acknowledged when the receipt settles, in order of arrival."""

from __future__ import annotations

import logging
import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pylib.brokers.pipe_end import PipeEnd
from pylib.brokers.port import Delivery, Port
from pylib.brokers.retrying import Retrying
from pylib.errors import MessageError, Rejected
from pylib.runtime.loop import Loop
from pylib.runtime.receipts import Receipt, Receipts
from pylib.runtime.sockets import Socket

__all__ = ["Inflow", "Route", "one_sink"]

log = logging.getLogger("pylib.bridge")

#: Which pipes a delivery goes down, by name, and what is sent down each. Empty: nowhere. A MessageError: set it aside.
Route = Callable[[Delivery], Sequence[tuple[str, object]]]

# Seconds until a message is tried again that failed while nothing could be stored.
TRY_AGAIN: Final = 1.0
# Header of a stored letter that says which pipe it goes down.
_ROUTE: Final = "pylib-route"


def one_sink(decode: Callable[[Delivery], object]) -> Route:
    """The route of a bridge with one pipe: down it goes what ``decode`` returns, and nothing for None."""

    def route(delivery: Delivery) -> Sequence[tuple[str, object]]:
        made = decode(delivery)
        return () if made is None else (("", made),)

    return route


class _Entry:
    """A delivery and how many of its legs are not done."""

    __slots__ = ("delivery", "legs")

    def __init__(self, delivery: Delivery, legs: int) -> None:
        self.delivery = delivery
        self.legs = legs


class _Leg:
    """A delivery's way down one pipe: the token of its receipt."""

    __slots__ = ("delivery", "entry", "letter", "route")

    def __init__(self, delivery: Delivery, route: str, entry: _Entry | None, letter: int = 0) -> None:
        self.delivery = delivery
        self.route = route
        self.entry = entry
        # Its number in the retry store, 0 for one that comes from the broker.
        self.letter = letter


class Inflow:
    """The way in. Never blocks and never stops reading: what a pipe has no room for waits at its end, and the broker is kept
    in check by the acknowledgements that it does not get.

    A failure is committed to the retry store, so that only messages of the same key wait for it and the window moves on.
    Belongs to the loop's thread, but for ``_settled``, which any holder's thread calls.
    """

    def __init__(
        self, loop: Loop, port: Port, sinks: Mapping[str, Socket], receipts: Receipts, route: Route, who: str,
        order_key: Callable[[Delivery], str] | None = None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._port = port
        self._ends = {name: PipeEnd(loop, socket, receipts, who) for name, socket in sinks.items()}
        self._receipts = receipts
        self._route = route
        self._who = who
        self._order_key = order_key
        self._retrying: Retrying | None = None
        # Deliveries without acknowledgement yet, in order of arrival.
        self._arrived: deque[_Entry] = deque()
        # Receipts that settled, handed over by other threads.
        self._back: deque[Receipt] = deque()
        # Deliveries that have to wait behind others of their key, until the batch is stored.
        self._behind: list[_Leg] = []
        self._posted = False
        self._stopping = False
        self.received = 0

    def retry_with(self, make: Callable[[Callable[[Delivery, int], None]], Retrying]) -> None:
        """Give failures a place to go. On the loop's thread."""
        self._retrying = make(self._retry)
        self._retrying.open()

    @property
    def outstanding(self) -> int:
        """Deliveries not acknowledged yet."""
        return len(self._arrived)

    def take(self, delivery: Delivery) -> None:
        """A delivery has arrived."""
        self.received += 1
        try:
            self._check_life(delivery)
            legs = self._route(delivery)
            pickled = [(name, pickle.dumps(made, pickle.HIGHEST_PROTOCOL)) for name, made in legs]
        except Exception as error:  # whatever a decoder trips over must not cost the thread: the message is at fault
            self._undecodable(delivery, error)
            return
        entry = None
        if delivery.tag:
            entry = _Entry(delivery, len(pickled))
            self._arrived.append(entry)
            if not pickled:
                self._loop.defer(self._acknowledge)
        retrying = self._retrying
        for name, frame in pickled:
            leg = _Leg(delivery, name, entry)
            if retrying is not None and retrying.busy and retrying.waits(self._key(leg)):
                self._behind.append(leg)
                self._loop.defer(self._store_behind)
            else:
                self._push(leg, frame)

    def forget(self) -> None:
        """The connection is gone: what it delivered will come again, so nothing of it is acknowledged any more."""
        self._arrived.clear()

    def stopping(self) -> None:
        """From here on a failure may be the stop's doing: it is not acknowledged, and comes again."""
        self._stopping = True

    def give_up_waiting(self) -> None:
        """The pipes have ended: what found no room in them will find none any more."""
        for end in self._ends.values():
            end.give_up()

    def close(self) -> None:
        """No more failures are taken care of."""
        if self._retrying is not None:
            self._retrying.close()
            self._retrying = None

    # -- out into the pipes ------------------------------------------------------------------------------------------

    def _check_life(self, delivery: Delivery) -> None:
        if delivery.expires_at is not None:
            late = self._loop.time() - delivery.expires_at
            if late >= 0:
                raise _TooLate(f"it expired {late:.1f} s ago")

    def _push(self, leg: _Leg, frame: bytes) -> None:
        receipt = self._receipts.open(self._settled, leg, leg.delivery.address)
        frame = self._receipts.enclose(frame, receipt)
        if not self._ends[leg.route].send(frame, droppable=leg.entry is None and not leg.letter):
            self._receipts.open_receipts.pop(receipt.ident, None)

    def _retry(self, delivery: Delivery, letter: int) -> None:
        """A letter is due: down the pipe that it failed in, and no other."""
        headers = dict(delivery.headers or {})
        wanted = str(headers.pop(_ROUTE, ""))
        delivery = _with_headers(delivery, headers)
        leg = _Leg(delivery, wanted, None, letter)
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
        else:
            self._done(leg)  # one pipe, and nothing of this goes down it any more

    def _undecodable(self, delivery: Delivery, error: Exception) -> None:
        """It goes to the dead letters at once; what is only too late is dropped on purpose."""
        entry = _Entry(delivery, 1)
        if delivery.tag:
            self._arrived.append(entry)
        if isinstance(error, _TooLate):
            log.warning("%s: a message on %s was dropped: %s.", self._who, delivery.address, error)
            entry.legs = 0
            self._loop.defer(self._acknowledge)
        else:
            self._bury(_Leg(delivery, "", entry), error)

    def _store_behind(self) -> None:
        """Deliveries that wait behind others of their key are stored together, then acknowledged."""
        legs, self._behind = self._behind, []
        retrying = self._retrying
        if not legs or retrying is None:
            return
        if retrying.queue_behind([(self._letter_of(leg), self._key(leg)) for leg in legs]):
            for leg in legs:
                self._done(leg)
            self._acknowledge()
        else:
            self._behind = legs + self._behind
            self._loop.call_later(TRY_AGAIN, self._store_behind)

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
            leg: Any = receipt.token
            if receipt.error is None:
                self._done(leg)
            else:
                self._failed(leg, receipt.error)
        self._acknowledge()

    def _done(self, leg: _Leg) -> None:
        if leg.letter and self._retrying is not None:
            self._retrying.outcome(leg.letter, None, final=True)
        if leg.entry is not None:
            leg.entry.legs -= 1

    def _failed(self, leg: _Leg, error: BaseException) -> None:
        hopeless = isinstance(error, MessageError)
        retrying = self._retrying
        if self._stopping and not hopeless:
            if leg.letter and retrying is not None:
                retrying.put_back(leg.letter)
            self._abandon(leg.entry)
        elif leg.letter:
            if retrying is not None:
                retrying.outcome(leg.letter, error, final=hopeless)
        elif hopeless:
            self._bury(leg, error)
        elif retrying is not None and retrying.keep(self._letter_of(leg), self._key(leg), error):
            self._done(leg)
        else:
            self._loop.call_later(TRY_AGAIN, lambda: self._again(leg))

    def _abandon(self, entry: _Entry | None) -> None:
        """It stays unacknowledged and comes again; so does everything after it, since acknowledgements keep the order."""
        arrived = self._arrived
        if entry is not None and entry in arrived:
            while arrived.pop() is not entry:
                pass

    def _bury(self, leg: _Leg, error: BaseException) -> None:
        retrying = self._retrying
        if retrying is None:
            log.warning("%s: a message on %s was set aside: %s: %s",
                        self._who, leg.delivery.address, type(error).__name__, error)  # fmt: skip
        elif not retrying.bury(self._letter_of(leg), self._key(leg), error):
            self._loop.call_later(TRY_AGAIN, lambda: self._bury(leg, error))
            return
        if leg.entry is not None:
            leg.entry.legs -= 1
        self._loop.defer(self._acknowledge)

    def _again(self, leg: _Leg) -> None:
        """It failed and could not be stored: try it once more, unacknowledged."""
        try:
            made = dict(self._route(leg.delivery)).get(leg.route)
            frame = pickle.dumps(made, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            self._failed(leg, error)
            return
        self._push(leg, frame)

    def _acknowledge(self) -> None:
        """Acknowledge in order of arrival (MQTT 5 section 4.6), as far as everything before is done."""
        arrived = self._arrived
        done = []
        while arrived and arrived[0].legs <= 0:
            done.append(arrived.popleft().delivery)
        if done:
            self._port.settle(done)

    def _key(self, leg: _Leg) -> str:
        """What keeps messages in order: one key's wait for each other, in each pipe for itself."""
        key = self._order_key(leg.delivery) if self._order_key is not None else leg.delivery.address
        return f"{_handler(leg.route)}|{key}" if leg.route else key

    def _letter_of(self, leg: _Leg) -> Delivery:
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
