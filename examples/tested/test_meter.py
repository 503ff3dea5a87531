"""The meter against a broker in this process, with faults on the line."""

from __future__ import annotations

import pytest
from meter import Meter

from pylib.testing.faults import FaultProxy
from pylib.testing.tester import AppTester


def test_a_reading_is_published(app: AppTester) -> None:
    line = app.mqtt_line
    with Meter(line.host, line.port, "water") as meter:
        meter.report(1041.5)
        [reading] = app.expect("meter/water/reading")
        assert reading.body == {"litres": 1041.5}


def test_a_reading_whose_confirmation_is_lost_is_sent_again(mqtt_line: FaultProxy) -> None:
    with Meter(mqtt_line.host, mqtt_line.port, "water") as meter:
        mqtt_line.wait_for("PUBACK")  # it is online
        mqtt_line.drop_frames("PUBACK")
        meter.report(1041.5)
        mqtt_line.wait_for("PUBACK", count=2)
        mqtt_line.reset()
        mqtt_line.wait_for("PUBACK", count=3)


def test_a_meter_that_is_cut_off_is_said_to_be_offline_and_comes_back(app: AppTester) -> None:
    line = app.mqtt_line
    with Meter(line.host, line.port, "water"):
        assert [each.body for each in app.expect("meter/water/online")] == ["yes"]
        line.reset()
        assert [each.body for each in app.expect("meter/water/online", count=2)] == ["no", "yes"]


@pytest.mark.parametrize("app", ["embedded", "real"], indirect=True)
def test_nothing_is_said_without_a_reading(app: AppTester) -> None:
    line = app.mqtt_line
    with Meter(line.host, line.port, "water"):
        app.expect("meter/water/online")
        app.nothing_on("meter/#")
