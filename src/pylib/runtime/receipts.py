"""Receipts: proof that everything a delivery caused has been accepted.

A bridge opens a receipt for each delivery and gives it to the first message. Every message sent while that one is being
handled holds the receipt too; whoever is done lets go. When the last holder has let go the receipt settles, once, and the
bridge may acknowledge to its broker. A receipt that failed settles as failed: it is never acknowledged.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pylib.runtime.here import HERE

if TYPE_CHECKING:
    from typing import Self

    from pylib.runtime.hops import Hops

__all__ = ["MARK", "Receipt", "Receipts", "fail_handling", "hold", "settle", "settle_handling"]

# A frame that carries receipts ends with their ids, 8 bytes each, a count byte and this mark. Pickles end with b"." and
# ignore what follows, so that a plain ZeroMQ peer can read our frames.
MARK = 0xA5
_NO_RECEIPTS = bytes((0, MARK))


class Receipt:
    """One delivery's account of who still holds it. Any thread may call its methods.

    Guarantee: ``on_settled`` is called exactly once, by the thread that let go last, with the receipt; never while the
    registry's lock is held.
    """

    __slots__ = ("_holders", "_on_settled", "_registry", "error", "ident", "label", "opened", "token", "trace")

    #: What a tracer hangs on it; set, and looked at, only where there is one.
    trace: object

    def __init__(
        self, registry: Receipts, ident: int, on_settled: Callable[[Receipt], None], token: object, label: str
    ) -> None:
        self._registry = registry
        self._holders = 1
        self._on_settled = on_settled
        self.ident = ident
        self.token = token
        self.label = label
        self.error: BaseException | None = None
        self.opened = time.monotonic()  # for whoever asks how long the oldest has been waiting

    def hold(self) -> None:
        """Become one more holder. Only a present holder may invite another; a settled receipt stays settled."""
        with self._registry.lock:
            if self._holders > 0:
                self._holders += 1

    def release(self) -> None:
        """Let go. The last to let go settles the receipt."""
        with self._registry.lock:
            if self._holders <= 0:
                return
            self._holders -= 1
            if self._holders:
                return
            self._registry.open_receipts.pop(self.ident, None)
        self._on_settled(self)

    def fail(self, error: BaseException) -> None:
        """Let go and say that the work was not done. The first error is kept."""
        if self.error is None:
            self.error = error
        self.release()

    @property
    def settled(self) -> bool:
        return self._holders <= 0


class Receipts:
    """The receipts of one runtime that are not settled yet."""

    __slots__ = ("_ids", "hops", "lock", "open_receipts")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._ids = itertools.count(1)
        self.open_receipts: dict[int, Receipt] = {}
        # Who wants to hear of every hop of a message; None, and then free, by default.
        self.hops: Hops | None = None

    def open(self, on_settled: Callable[[Receipt], None], token: object = None, label: str = "") -> Receipt:
        """A new receipt with the caller as its only holder. ``label`` names the delivery in reports (its topic)."""
        receipt = Receipt(self, next(self._ids), on_settled, token, label)
        self.open_receipts[receipt.ident] = receipt  # one atomic store, needs no lock
        return receipt

    def __len__(self) -> int:
        return len(self.open_receipts)

    def oldest(self) -> Receipt | None:
        """The one that has been open for the longest, or None. Any thread."""
        while True:
            try:
                return next(iter(self.open_receipts.values()), None)
            except RuntimeError:  # it changed while we looked
                continue

    def attach(self, frame: bytes, receipts: Sequence[Receipt]) -> bytes:
        """The frame with one hold on each receipt travelling in it. The taker of the frame is the holder."""
        if not receipts:
            return frame + _NO_RECEIPTS
        for receipt in receipts:
            receipt.hold()
        if len(receipts) == 1:
            return b"%b%b\x01\xa5" % (frame, receipts[0].ident.to_bytes(8, "little"))
        # The count is one byte: more receipts than that travel as a chain of accounts.
        if len(receipts) > 255:
            receipts = self._bundle(receipts)
        idents = b"".join(receipt.ident.to_bytes(8, "little") for receipt in receipts)
        return b"%b%b%c\xa5" % (frame, idents, len(receipts))

    def enclose(self, frame: bytes, receipt: Receipt) -> bytes:
        """The frame with the caller's own hold in it: whoever takes the frame is the holder, the caller no longer is."""
        return b"%b%b\x01\xa5" % (frame, receipt.ident.to_bytes(8, "little"))

    def detach(self, frame: bytes) -> tuple[bytes, tuple[Receipt, ...]]:
        """What ``attach`` was given. Only for frames whose last byte is ``MARK``.

        A frame that is too short to be ours (a plain ZeroMQ peer sent it) is returned as it is.
        """
        count = frame[-2] if len(frame) > 1 else 255
        if not count:
            return frame[:-2], ()
        if len(frame) < 8 * count + 2:
            return frame, ()
        table = self.open_receipts
        if count == 1:
            receipt = table.get(int.from_bytes(frame[-10:-2], "little"))
            return frame[:-10], (receipt,) if receipt is not None else ()
        end = len(frame) - 2
        start = end - 8 * count
        idents = (int.from_bytes(frame[at : at + 8], "little") for at in range(start, end, 8))
        found = tuple(receipt for ident in idents if (receipt := table.get(ident)) is not None)
        return frame[:start], found

    def drop(self, frame: bytes, error: BaseException | None = None) -> None:
        """Let go of what a frame carries that will not be delivered; with an error, fail it."""
        if frame and frame[-1] == MARK:
            for receipt in self.detach(frame)[1]:
                if error is None:
                    receipt.release()
                else:
                    receipt.fail(error)

    def _bundle(self, receipts: Sequence[Receipt]) -> tuple[Receipt, ...]:
        """One receipt that stands for many: each of them is let go when it settles."""
        held = tuple(receipts)

        def pass_on(bundle: Receipt) -> None:
            for receipt in held:
                if bundle.error is None:
                    receipt.release()
                else:
                    receipt.fail(bundle.error)

        bundle = self.open(pass_on, label=held[0].label)
        if self.hops is not None:
            self.hops.inherit(bundle, held)
        return (bundle,)


def settle_handling() -> None:
    """The thread is done with the message it was handling: let go of its receipts. Called when it asks for the next."""
    receipts = HERE.receipts
    if receipts:
        HERE.receipts = ()
        for receipt in receipts:
            receipt.release()


def fail_handling(error: BaseException) -> None:
    """The thread could not do its work on the message it was handling."""
    receipts, HERE.receipts, HERE.holding = HERE.receipts, (), False
    for receipt in receipts:
        receipt.fail(error)


def hold() -> None:
    """Gather several messages before sending anything: none of them is settled until ``settle()``. Calling thread only."""
    HERE.holding = True


def settle() -> None:
    """End a ``hold()``: everything gathered so far has been dealt with. Calling thread only."""
    HERE.holding = False
    settle_handling()


class handling:
    """Handle one message by hand: ``with handling(receipts):`` settles at the end, or fails them with the exception."""

    __slots__ = ("_before", "_receipts")

    def __init__(self, receipts: tuple[Receipt, ...]) -> None:
        self._receipts = receipts

    def __enter__(self) -> Self:
        self._before, HERE.receipts = HERE.receipts, self._receipts
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            settle_handling()
        else:
            fail_handling(error)
        HERE.receipts = self._before
