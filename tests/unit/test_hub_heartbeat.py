"""The heartbeat filter: remembers who was heard, passes everything on, notices silence by itself."""

from __future__ import annotations

import logging
import threading

import pytest
import zmq

from event_processor.domain.devices import Device
from event_processor.heartbeat import HeartbeatFilter
from pylib.errors import DecodeError
from pylib.runtime.runtime import Runtime
from pylib.zmq import Closable, zmq_socket


def heard(device: str, *, retained: bool = False) -> dict[str, object]:
    return {"front": {"retained": retained, "data": {"active_devices": [{"device_key": device}]}}}


def test_a_message_is_noted_and_passed_on_as_it_is() -> None:
    runtime = Runtime()
    with runtime.active():
        keeper = HeartbeatFilter("inproc://in", "inproc://out")
        message = heard("Front Door")
        assert keeper.process(message) is message
        assert keeper.devices["Front Door"].active is True
        keeper.process(heard("Kept Door", retained=True))
        assert "Kept Door" not in keeper.devices
        with pytest.raises(DecodeError):
            keeper.process(["no", "origin"])
    runtime.trip()
    runtime.stop()


def test_a_device_that_falls_silent_is_reported_once_and_welcomed_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "event_processor.heartbeat")
    silent, told = threading.Event(), []

    def on_silent(device: Device) -> None:
        told.append(device.key)
        silent.set()

    runtime = Runtime()
    with runtime.active():
        out = Closable("inproc://out")
        keeper = HeartbeatFilter("inproc://in", "inproc://out", stale_after_s=0.05, look_every_s=0.01, on_silent=on_silent)
        keeper.start()
        with zmq_socket(zmq.PUSH) as sender:
            sender.connect("inproc://in")
            sender.send_pyobj(heard("Front Door"))
            assert out.socket.recv_pyobj() == heard("Front Door")
            assert silent.wait(5)
            sender.send_pyobj(heard("Front Door"))
            assert out.socket.recv_pyobj() == heard("Front Door")
        out.close()
        runtime.trip()
        assert runtime.stop() == []
    assert told[0] == "Front Door"
    assert "Front Door is heard again" in caplog.text
