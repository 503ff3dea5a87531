"""What is counted anyway, for Prometheus: read off the drawing of the application when somebody asks, never before.

Nothing is counted on a hot path for it. The names follow Prometheus' conventions: a unit, and ``_total`` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from pylib.errors import ConfigError
from pylib.observe.health import Health
from pylib.runtime.wiring import Link, Pipe, ThreadState, Wiring, snapshot

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from pylib.runtime.runtime import Runtime

__all__ = ["CONTENT_TYPE", "Sample", "metrics_text", "samples_of"]

#: What the text is: the exposition format of Prometheus, version 0.0.4.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Sample(msgspec.Struct, frozen=True):
    """One figure at one moment. ``counter`` names end in ``_total``; labels tell apart what has the same name."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    value: float
    labels: Mapping[str, str] = {}


def metrics_text(runtime: Runtime, healthy: Callable[[], Health], more: Callable[[], Iterable[Sample]] | None = None) -> str:
    """Everything, as Prometheus reads it. Any thread; costs a millisecond or two.

    :param more: what else there is to tell: a store, a queue of notifications.
    :raises ConfigError: ``prometheus-client`` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
    except ImportError:
        raise ConfigError("metrics need prometheus-client: pip install 'pylib-automation[observe]'") from None
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    samples = [*samples_of(snapshot(runtime), healthy())]
    if more is not None:
        samples += more()
    registry.register(_collector(samples))
    return generate_latest(registry).decode()


def samples_of(wiring: Wiring, health: Health) -> Iterator[Sample]:
    """The figures of a drawing."""
    yield _gauge("pylib_live", "1 unless only a restart helps", health.live)
    yield _gauge("pylib_ready", "1 while the application does its work", health.ready)
    for problem in health.problems:
        yield _gauge("pylib_problem_start_timestamp_seconds", "Since when a part is not as it should be", problem.since,
                     part=problem.part)  # fmt: skip
    yield _gauge("pylib_deliveries_open", "Deliveries that are not dealt with yet", wiring.unacknowledged)
    yield _gauge("pylib_deliveries_oldest_age_seconds", "Age of the oldest of them", wiring.oldest_s)
    for thread in wiring.threads:
        yield from _thread(thread)
    for pipe in wiring.pipes:
        yield from _pipe(pipe)
    for link in wiring.links:
        yield from _link(link)


def _thread(thread: ThreadState) -> Iterator[Sample]:
    up = thread.alive and not thread.down_since and not thread.hung
    yield _gauge("pylib_thread_up", "1 while a thread works", up, thread=thread.name)
    yield _gauge("pylib_thread_busy_seconds", "How long it has been at one thing", thread.busy_s, thread=thread.name)
    yield _counter("pylib_thread_restarts_total", "How often it was started again", thread.restarts, thread=thread.name)


def _pipe(pipe: Pipe) -> Iterator[Sample]:
    name = pipe.endpoint
    yield _counter("pylib_pipe_messages_total", "Messages taken from a pipe", pipe.taken, pipe=name)
    yield _gauge("pylib_pipe_depth_messages", "Messages that wait in it", pipe.depth, pipe=name)
    yield _gauge("pylib_pipe_capacity_messages", "Messages that it holds before its senders wait", pipe.mark, pipe=name)


def _link(link: Link) -> Iterator[Sample]:
    where = {"thread": link.thread, "broker": link.name}
    yield _gauge("pylib_link_up", "1 while a connection to a broker is alive", link.up, **where)
    yield _gauge("pylib_link_blocked", "1 while the broker asks not to be sent anything", link.blocked, **where)
    yield _gauge("pylib_link_change_timestamp_seconds", "When it came up or went down", link.since, **where)
    yield _counter("pylib_link_connects_total", "Connections made", link.connects, **where)
    yield _counter("pylib_link_received_messages_total", "Messages delivered by the broker", link.received, **where)
    yield _counter("pylib_link_sent_messages_total", "Messages handed to the broker, or to the spool", link.sent, **where)
    yield _counter("pylib_link_refused_messages_total", "Messages that were not accepted", link.refused, **where)
    yield _gauge("pylib_link_unsettled_messages", "Published and not accepted yet", link.unsettled, **where)
    yield _gauge("pylib_link_owed_messages", "Delivered and not acknowledged yet", link.owed, **where)
    yield _gauge("pylib_link_waiting_messages", "Delivered, and without room in their pipe", link.waiting, **where)
    yield _gauge("pylib_link_spooled_messages", "Messages that wait on disk for the broker", link.spooled, **where)
    yield _gauge("pylib_link_spooled_bytes", "What they take on disk", link.spooled_bytes, **where)


def _gauge(name: str, words: str, value: float, **labels: str) -> Sample:
    return Sample(name, "gauge", words, float(value), labels)


def _counter(name: str, words: str, value: float, **labels: str) -> Sample:
    return Sample(name, "counter", words, float(value), labels)


def _collector(samples: Iterable[Sample]) -> Collector:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector

    class Drawn(Collector):
        def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
            families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
            for each in samples:
                family = families.get(each.name)
                if family is None:
                    make = CounterMetricFamily if each.kind == "counter" else GaugeMetricFamily
                    family = families[each.name] = make(each.name, each.help, labels=tuple(each.labels))
                family.add_metric(tuple(each.labels.values()), each.value)
            yield from families.values()

    return Drawn()
