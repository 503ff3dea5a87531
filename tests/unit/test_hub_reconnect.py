"""When a failed connection is the end: at the very first one, and never for want of another address."""

from __future__ import annotations

import pytest

from pylib.brokers.patience import Patience, Reconnect
from pylib.errors import AccessRefused, ConnectFailed, ConnectionLost, DependencyError

AWAY, REFUSED, LOST = ConnectFailed("away"), AccessRefused("refused"), ConnectionLost("lost")


@pytest.mark.parametrize(
    ("reconnect", "error", "first", "later"),
    [
        (True, AWAY, False, False),
        (True, REFUSED, False, False),
        ("unless_refused", AWAY, False, False),
        ("unless_refused", REFUSED, True, False),
        ("after_first", AWAY, True, False),
        ("after_first", REFUSED, True, False),
        ("until_first", AWAY, False, True),
        (False, LOST, True, True),
    ],
)
def test_what_a_failure_leads_to_before_and_after_the_first_connection(
    reconnect: Reconnect, error: DependencyError, first: bool, later: bool
) -> None:
    patience = Patience(reconnect, 1)
    assert patience.exhausted(error) is first
    patience.ready()
    assert patience.exhausted(error) is later


def test_the_first_connection_has_failed_only_when_every_address_has() -> None:
    patience = Patience("after_first", 3)
    assert [patience.exhausted(AWAY) for _ in range(3)] == [False, False, True]
