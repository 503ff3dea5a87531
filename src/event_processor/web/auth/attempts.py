"""Slows down whoever guesses: for each address and each account a wait that doubles with every failure."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

from event_processor.web.problems import ProblemError

__all__ = ["Attempts"]

FREE_PER_ACCOUNT: Final = 5
"""Failures of one account before its next try has to wait."""

FREE_PER_ADDRESS: Final = 15
"""Failures from one address before its next try has to wait."""

LONGEST_ACCOUNT: Final = 60.0
"""Seconds that an account waits, at most: a stranger must not be able to lock somebody out."""

LONGEST_CODE: Final = 900.0
"""Seconds that the second step of an account waits, at most. Only who has the password gets there, so this locks nobody out
who has nothing to do with it; and with six digits a wait of a minute would be too short."""

LONGEST_ADDRESS: Final = 900.0
"""Seconds that an address waits, at most."""

FORGOTTEN_AFTER: Final = 3600.0
"""Seconds without a try after which failures are forgotten."""

MOST_REMEMBERED: Final = 10_000
"""Addresses and accounts that are remembered; the oldest make room."""


class _Record:
    __slots__ = ("failures", "last", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.last = 0.0
        self.until = 0.0


class Attempts:
    """For one thread. Times are of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, address: str, account: str, now: float) -> None:
        """Somebody tries. Counts as a failure until ``succeeded``, so that tries at the same time are counted too.

        :raises ProblemError: 429, with how long to wait.
        """
        keys = self._keys(address, account)
        wait = max((self._records[key].until - now for key in keys if key in self._records), default=0.0)
        if wait > 0:
            raise ProblemError(429, f"Too many failed logins. Try again in {max(1, round(wait))} s.", retry_after=wait)
        self._count(keys[0], FREE_PER_ADDRESS, LONGEST_ADDRESS, now)
        self._count(keys[1], FREE_PER_ACCOUNT, LONGEST_ACCOUNT, now)

    def begin_code(self, address: str, account: str, now: float) -> None:
        """Somebody who knows the password tries a code. Counts and raises as ``begin``."""
        by_address, by_account = self._keys(address, account)
        by_code = f"code {by_account}"
        wait = max((self._records[key].until - now for key in (by_address, by_code) if key in self._records), default=0.0)
        if wait > 0:
            raise ProblemError(429, f"Too many wrong codes. Try again in {max(1, round(wait))} s.", retry_after=wait)
        self._count(by_address, FREE_PER_ADDRESS, LONGEST_ADDRESS, now)
        self._count(by_code, FREE_PER_ACCOUNT, LONGEST_CODE, now)

    def succeeded(self, address: str, account: str) -> None:
        """It was the right one: the account starts anew, and the address gets back this one try."""
        by_address, by_account = self._keys(address, account)
        self._records.pop(by_account, None)
        self._records.pop(f"code {by_account}", None)
        self._known[_network(address), account.lower()[:64]] = None
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        record = self._records.get(by_address)
        if record is not None:
            record.failures = max(0, record.failures - 1)
            if record.failures <= FREE_PER_ADDRESS:  # else who has one account could go on guessing at others
                record.until = 0.0

    def wrong_token(self, address: str, now: float) -> None:
        """A token from there was wrong. One that is right is let in all the same: 256 random bits are not guessed, and who
        shares an address with somebody who tries must not be locked out.

        :raises ProblemError: 429, where it was not the first.
        """
        key = f"token from {_network(address)}"
        record = self._records.get(key)
        if record is not None and record.until > now:
            wait = record.until - now
            raise ProblemError(429, f"Too many wrong tokens. Try again in {max(1, round(wait))} s.", retry_after=wait)
        self._count(key, FREE_PER_ADDRESS, LONGEST_ADDRESS, now)

    def _count(self, key: str, free: int, longest: float, now: float) -> None:
        record = self._records.setdefault(key, _Record())
        if now - record.last > FORGOTTEN_AFTER:
            record.failures = 0
        record.failures += 1
        record.last = now
        if record.failures > free:
            record.until = now + min(longest, 2.0 ** min(record.failures - free - 1, 20))
        self._records.move_to_end(key)
        while len(self._records) > MOST_REMEMBERED:
            self._records.popitem(last=False)

    def _keys(self, address: str, account: str) -> tuple[str, str]:
        """From where the account's owner has logged in before, strangers elsewhere do not make anybody wait."""
        network, account = _network(address), account.lower()[:64]
        known = (network, account) in self._known
        return f"from {network}", f"to {account} from {network}" if known else f"to {account}"


def _network(address: str) -> str:
    """An IPv6 guesser has a whole /64 to choose from, and counts as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
