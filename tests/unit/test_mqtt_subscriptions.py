"""What an MQTT connection listens to: the first filters decide about the connection, later ones about themselves."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from paho.mqtt.client import MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from pylib.brokers.liveness import Canary
from pylib.brokers.mqtt_subscriptions import Subscriptions
from pylib.errors import Rejected


class Client:
    """Stands for Paho's: keeps what was asked."""

    protocol = MQTTv5

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def subscribe(self, wanted: list[tuple[str, Any]]) -> tuple[int, int]:
        self.asked.append([topic for topic, _ in wanted])
        return 0, len(self.asked)


def granted(code: int = 1) -> ReasonCode:
    return ReasonCode(PacketTypes.SUBACK, identifier=code)


DENIED = 135  # MQTT 5 section 3.9.3: not authorized


def test_everything_is_asked_for_on_a_fresh_connection_in_bounded_packets() -> None:
    subscriptions, client = Subscriptions([(f"first/{n}", 1) for n in range(150)], Canary("me")), Client()
    assert subscriptions.ask_for_all(client)  # type: ignore[arg-type]
    assert [len(packet) for packet in client.asked] == [100, 51]  # and the canary
    assert not subscriptions.answered(1, [granted()] * 100, "the broker")
    assert subscriptions.pending
    assert not subscriptions.answered(2, [granted()] * 51, "the broker")
    assert not subscriptions.pending


def test_a_refused_first_filter_is_told_and_a_refused_later_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    subscriptions, client = Subscriptions([("first", 1)], Canary("me")), Client()
    assert subscriptions.add([("first", 1), ("late/#", 1), ("later", 0)]) == [("late/#", 1), ("later", 0)]
    subscriptions.ask(client, [("first", 1), ("late/#", 1), ("later", 0)])  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert subscriptions.answered(1, [granted(DENIED), granted(DENIED), granted(0)], "the broker") == ["first"]
    assert caplog.messages == ["the broker: it refused to send late/#; check the user's permissions."]
    assert "late/#" not in subscriptions
    assert "later" in subscriptions


def test_what_is_no_filter_is_refused_before_anything_is_wanted() -> None:
    subscriptions = Subscriptions([], Canary("me"))
    with pytest.raises(Rejected, match="fir#st"):
        subscriptions.add([("good", 1), ("fir#st", 1)])
    assert "good" not in subscriptions


def test_what_is_wanted_before_the_first_answer_is_asked_for_by_itself() -> None:
    subscriptions, client = Subscriptions([("first", 1)], Canary("me")), Client()
    begun = [subscriptions.begun]
    subscriptions.ask_for_all(client)  # type: ignore[arg-type]
    begun.append(subscriptions.begun)
    subscriptions.forget_answers()
    begun.append(subscriptions.begun)
    assert begun == [False, True, False]
