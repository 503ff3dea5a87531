"""Traces are off unless the environment asks for them, and then what it asks for has to be there."""

from __future__ import annotations

import subprocess
import sys

import pytest
import zmq
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from pylib.app import ZmqRelay
from pylib.errors import ConfigError, Rejected
from pylib.observe.tracing import configure_tracing
from pylib.runtime.receipts import handling
from pylib.runtime.runtime import Runtime
from pylib.zmq import zmq_socket

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
VARIABLES = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_being_asked_nothing_is_recorded_and_nothing_imported() -> None:
    program = (
        "import sys\nfrom pylib.runtime.runtime import Runtime\nimport pylib.application\n"
        "from pylib.observe.tracing import configure_tracing\nruntime = Runtime()\n"
        "assert not configure_tracing(runtime, 'x')\nassert runtime.receipts.hops is None\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus_client'))]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    "given",
    [
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"},
    ],
)
def test_who_switches_it_off_has_it_off(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert not configure_tracing(runtime, "x")


def test_an_exporter_that_is_not_installed_is_named_with_its_package(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with pytest.raises(ConfigError, match=r"carrier-pigeon.*pip install"):
        configure_tracing(runtime, "x")
    assert runtime.receipts.hops is None


class Doubling(ZmqRelay):
    """Sends everything twice, and refuses what is not a number."""

    def process(self, message: object) -> object:
        if not isinstance(message, int):
            raise Rejected("it is no number: password=hunter2")
        return (2 * message for _ in range(2))


class Seed(ZmqRelay):
    """In the manner of the first applications: it receives and sends by itself."""

    def process_message(self, sink_socket: zmq.Socket[bytes]) -> None:
        sink_socket.send_pyobj(self.socket.recv_pyobj())


def test_a_message_is_followed_from_thread_to_thread(runtime: Runtime) -> None:
    spans = InMemorySpanExporter()
    configure_tracing(runtime, "x", exporter=spans)
    hops, receipts = runtime.receipts.hops, runtime.receipts
    assert hops is not None
    out = zmq_socket(zmq.PULL)
    out.bind("inproc://out")
    Doubling("doubling", "inproc://in", "inproc://between").start()
    Seed("seed", "inproc://between", "inproc://out").start()
    into = zmq_socket(zmq.PUSH)
    into.connect("inproc://in")
    for message in (21, "poison"):
        receipt = receipts.open(lambda receipt: None, label="soil/7")
        hops.carry(receipt, {"traceparent": PARENT})
        with handling((receipt,)):
            into.send_pyobj(message)
    assert [out.recv_pyobj(), out.recv_pyobj()] == [42, 42]
    into.close()
    out.close()
    runtime.stop()
    found = spans.get_finished_spans()
    assert sorted(span.name for span in found) == ["doubling process", "doubling process", "seed process", "seed process"]
    assert {format(span.context.trace_id, "032x") for span in found if span.context} == {PARENT.split("-")[1]}
    (failed,) = [span for span in found if span.status.status_code is StatusCode.ERROR]
    assert "hunter2" not in str(failed.status.description)
    good = next(span for span in found if span.name == "doubling process" and span is not failed)
    seeds = [span for span in found if span.name == "seed process"]
    assert good.context is not None
    assert all(span.parent is not None and span.parent.span_id == good.context.span_id for span in seeds)


def test_a_hop_outside_any_trace_makes_none(runtime: Runtime) -> None:
    spans = InMemorySpanExporter()
    configure_tracing(runtime, "x", exporter=spans)
    hops = runtime.receipts.hops
    assert hops is not None
    with hops.hop("somebody"):
        pass
    assert hops.around("somebody", lambda: 3)() == 3
    assert spans.get_finished_spans() == ()


def test_many_deliveries_handled_together_stay_in_their_trace(runtime: Runtime) -> None:
    """More than fit into one frame travel as one that stands for all: it goes on with the first one's trace."""
    spans = InMemorySpanExporter()
    configure_tracing(runtime, "x", exporter=spans)
    hops, receipts = runtime.receipts.hops, runtime.receipts
    assert hops is not None
    many = tuple(receipts.open(lambda receipt: None) for _ in range(300))
    hops.carry(many[0], {"traceparent": PARENT})
    _, (bundle,) = receipts.detach(receipts.attach(b"x", many))
    with hops.hop("somebody", receipts=(bundle,)):
        pass
    for each in (bundle, *many):
        each.release()
    (span,) = spans.get_finished_spans()
    assert span.context is not None
    assert format(span.context.trace_id, "032x") == PARENT.split("-")[1]
