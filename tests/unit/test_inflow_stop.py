"""A stop is asked for while the bridge is busy: what fails from then on is the stop's doing, and the broker keeps it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pylib.delivery.retry import RetryStore
from tests.unit.test_inflow_order import standing


def test_what_fails_after_the_stop_was_asked_for_is_neither_stored_nor_acknowledged(tmp_path: Path) -> None:
    store = tmp_path / "retry.db"
    with standing(store, Counter({"early": 1, "late": 1})) as stand:
        early = stand.port.deliver("a", b"early")
        stand.port.deliver("b", b"late")
        stand.work(1)
        stand.bridge.stop_asked()  # as the stop does, from its own thread; the bridge's has not heard of it yet
        stand.work(1)
        assert stand.tried == [("a", "early"), ("b", "late")]
        stand.bridge.stop_consuming()
        stand.loop.defer(stand.loop.stop)
        stand.loop.run()
        assert [each.delivery for each in stand.port.settled] == [early], "it failed by itself, and is stored"
    opened = RetryStore(store, "bridge")
    assert "b" not in opened.waiting_keys()
    opened.close()
