"""Metrics: read off the drawing, in Prometheus' own format; and the dashboard file draws nothing that does not exist."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from event_processor.store.keeper import StoreHealth
from event_processor.store.samples import samples_of_store
from pylib.app import ZmqRelay
from pylib.config import AppConfig
from pylib.errors import ConfigError
from pylib.observe.health import Problem, health
from pylib.observe.metrics import Sample, metrics_text, samples_of
from pylib.observe.observing import Observing, health_of
from pylib.runtime.runtime import Runtime
from pylib.runtime.wiring import Link, Pipe, ThreadState, Wiring
from pylib.testing.ports import free_port

DASHBOARD = Path(__file__).parents[3] / "deploy/grafana/pylib.json"
REFERENCE = Path(__file__).parents[3] / "docs/reference/metrics.md"


def full() -> Wiring:
    """A drawing with one of everything."""
    thread = ThreadState(
        name="t", role="pipe", alive=True, busy_s=0.5, deadline_s=5, hung=False, tracked=True, restarts=2, error=""
    )
    pipe = Pipe(endpoint="inproc://p", also=(), senders=(), takers=(), sent=9, taken=7, depth=2, mark=2000)
    link = Link(thread="l", name="RabbitMQ at x:5672", up=True, since=5.0, sent=3, received=4, connects=1, spooled=6)
    return Wiring(at=100.0, clock=1.0, stopping=False, threads=(thread,), pipes=(pipe,), links=(link,), unacknowledged=1,
                  oldest_s=2.0, oldest="sensor/door")  # fmt: skip


def store() -> StoreHealth:
    return StoreHealth(ok=False, problem="full", stored=1, lost=2, waiting=3, in_flight=4, behind=True, accepted=5, expired=6,
                       refused=7, quarantined=None)  # fmt: skip


def names() -> set[str]:
    problem = Problem(part="store", what="full", since=3.0)
    return {each.name for each in (*samples_of(full(), health(full(), [problem])), *samples_of_store(store()))}


def families(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(sample.labels.values())] = sample.value
    return found


def test_what_passes_a_pipe_is_in_the_metrics(runtime: Runtime) -> None:
    relay = ZmqRelay("relay", "inproc://in", "inproc://out")
    relay.start()
    text = metrics_text(
        runtime, health_of(runtime), lambda: [Sample("my_things_total", "counter", "Things", 3.0, {"of": "mine"})]
    )
    found = families(text)
    assert found["pylib_live", ()] == 1.0
    assert found["pylib_thread_up", ("relay",)] == 1.0
    assert found["pylib_pipe_messages_total", ("inproc://in",)] == 0.0
    assert found["my_things_total", ("mine",)] == 3.0
    assert found["process_resident_memory_bytes", ()] > 1e6
    runtime.stop()


def test_every_figure_has_a_name_by_the_conventions_and_a_row_in_the_reference() -> None:
    words = REFERENCE.read_text()
    for each in (
        *samples_of(full(), health(full(), [Problem(part="store", what="full", since=3.0)])),
        *samples_of_store(store()),
    ):
        assert re.fullmatch(r"[a-z_]+", each.name)
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name
        assert each.help
        assert f"`{each.name}`" in words, f"docs/reference/metrics.md does not explain {each.name}"


def test_the_reference_explains_nothing_that_does_not_exist() -> None:
    explained = set(re.findall(r"`((?:pylib|event_processor)_[a-z_]+)`", REFERENCE.read_text()))
    assert explained == names()


def expressions(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [value for name, value in node.items() if name == "expr"] + [
            each for v in node.values() for each in expressions(v)
        ]
    return [each for item in node for each in expressions(item)] if isinstance(node, list) else []


def test_every_metric_on_the_dashboard_exists(runtime: Runtime) -> None:
    known = names() | {name for name, _ in families(metrics_text(runtime, health_of(runtime)))}
    drawn = {
        name for each in expressions(json.loads(DASHBOARD.read_text())) for name in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", each)
    }
    keywords = {"label_values", "rate_interval", "group_left", "ignoring"}
    assert drawn - keywords
    assert drawn - keywords <= known
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    runtime.stop()


def ask(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_port_serves_metrics_and_health_on_loopback_until_the_stop(runtime: Runtime) -> None:
    port, problems = free_port(), [Problem(part="store", what="its disk is full", since=5.0)]
    observing = Observing(runtime, "test", lambda: problems, config=AppConfig(environ={"OBSERVE_METRICS_PORT": str(port)}))
    observing.start()
    assert b"pylib_ready 0.0" in ask(port, "/metrics")[1]
    assert ask(port, "/health/live")[0] == 200
    status, body = ask(port, "/health/ready")
    assert status == 503
    assert json.loads(body)["problems"] == [{"part": "store", "what": "its disk is full", "since": 5.0, "fatal": False}]
    problems.clear()
    assert ask(port, "/health/ready")[0] == 200
    assert ask(port, "/../../etc/passwd")[0] == 404
    with socket.create_connection(("127.0.0.1", port), 5) as silent:  # holds up the others for a bounded time only
        assert ask(port, "/health/live")[0] == 200
        silent.sendall(b"GET")
    assert runtime.stop() == []
    with pytest.raises(OSError, match="refused"):
        ask(port, "/metrics")


def test_a_port_that_is_taken_is_refused_in_one_line(runtime: Runtime) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = AppConfig(environ={"OBSERVE_METRICS_PORT": str(taken.getsockname()[1])})
        with pytest.raises(ConfigError, match="metrics_port: cannot listen on"):
            Observing(runtime, "test", config=config)
