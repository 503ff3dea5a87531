"""Traces: one message's way through threads and brokers, each hop a span, by OpenTelemetry. Off, and free, by default.

At the edges the context is ``traceparent`` (W3C Trace Context): a user property of MQTT 5, an entry of AMQP's header table.
Within the application it hangs on the message's receipt. The attributes follow OpenTelemetry's conventions for messaging.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final

from pylib.errors import ConfigError
from pylib.observe.scrub import scrub_report
from pylib.runtime.here import HERE
from pylib.runtime.hops import Headers, Held

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from pylib.runtime.receipts import Receipt
    from pylib.runtime.runtime import Runtime

__all__ = ["Tracing", "configure_tracing"]

#: Seconds of a stop in which spans may leave.
LAST_SPANS: Final = 0.3
#: Characters of a topic or an error in a span.
MOST_TEXT: Final = 256
_EXTRA: Final = "pip install 'pylib-automation[observe]'"
_ON: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def configure_tracing(runtime: Runtime, service: str, *, exporter: SpanExporter | None = None) -> bool:
    """Have every hop of a message recorded, if the environment asks for it. Before the runtime's threads start.

    The variables are OpenTelemetry's own: ``OTEL_TRACES_EXPORTER`` (``otlp``, ``console``, ``none``),
    ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``, ``OTEL_SDK_DISABLED`` and so on. None
    of them set: nothing is imported and nothing is recorded.

    :param service: the name of this application in the traces, where the environment gives no other.
    :param exporter: where spans go, at once and whatever the environment says: for tests.
    :returns: whether traces are recorded.
    :raises ConfigError: the environment asks for traces, and a package is missing or an exporter is unknown.
    """
    wanted = [] if exporter is not None else _wanted()
    if exporter is None and not wanted:
        return False
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    except ImportError:
        raise ConfigError(f"{' or '.join(_ON)} asks for traces, and OpenTelemetry is not installed: {_EXTRA}") from None
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": service})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    else:
        for name in wanted:
            provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
        # Spans that a handler makes by OpenTelemetry's own API become children of the handler's. The process's first wins.
        if not isinstance(trace.get_tracer_provider(), TracerProvider):
            trace.set_tracer_provider(provider)
    runtime.receipts.hops = Tracing(provider)
    runtime.on_stopped(lambda: _shut_down(provider))
    return True


class Tracing:
    """The tracer of one runtime: see ``pylib.runtime.hops.Hops`` for what is called when. Any thread."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._tracer = provider.get_tracer("pylib")
        self._propagator = TraceContextTextMapPropagator()

    def arrived(self, who: str, broker: str, address: str, headers: Headers | None) -> Headers:
        """A delivery came from a broker: a span, in the trace that the delivery came with or in a new one."""
        span = self._start("receive", "CONSUMER", who, address, self._extracted(headers), broker)
        span.end()
        return self._injected(span, headers)

    def carry(self, receipt: Receipt, headers: Headers | None) -> None:
        """Hang the trace that these headers name on a receipt."""
        context = self._extracted(headers)
        if context is not None:
            receipt.trace = self._trace.get_current_span(context)

    def inherit(self, receipt: Receipt, receipts: tuple[Receipt, ...]) -> None:
        """Hang the trace of the first of these receipts on another one."""
        span = _of(receipts)
        if span is not None:
            receipt.trace = span

    @contextlib.contextmanager
    def hop(self, who: str, headers: Headers | None = None, receipts: tuple[Receipt, ...] | None = None) -> Iterator[None]:
        """Around the handling of a message: a span, which what is sent meanwhile hangs below. None outside any trace."""
        receipts = HERE.receipts if receipts is None else receipts
        context = self._context(receipts, headers)
        if context is None:
            yield
            return
        span = self._start("process", "INTERNAL", who, _label(receipts), context, links=receipts[1:])
        for receipt in receipts:
            receipt.trace = span
        with self._trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                self._failed(span, error)
                raise

    def around(self, who: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, each call of it a span; a generator is read to its end within it."""

        def traced(*arguments: Any, **named: Any) -> Any:
            with self.hop(who):
                result = call(*arguments, **named)
                if type(result) is not GeneratorType:
                    return result
                made = list(result)
            return (each for each in made)

        return traced

    def taking(self, who: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same for a function that takes its message by itself: its span is made when it has returned."""

        def traced(*arguments: Any, **named: Any) -> Any:
            began, error = time.time_ns(), None
            try:
                return call(*arguments, **named)
            except Exception as raised:
                error = raised
                raise
            finally:
                receipts = HERE.receipts
                context = self._context(receipts, None)
                if context is not None:
                    span = self._start("process", "INTERNAL", who, _label(receipts), context, began=began)
                    if error is not None:
                        self._failed(span, error)
                    span.end()

        return traced

    def leaving(
        self, who: str, broker: str, address: str, headers: Headers | None, receipts: tuple[Receipt, ...]
    ) -> tuple[Headers, Held]:
        """A message goes to a broker: a span that ends when the broker, or the spool, has it."""
        context = self._context(receipts, headers)
        span = self._start("send", "PRODUCER", who, address, context, broker, links=receipts[1:])
        return self._injected(span, headers), _WayOut(self, span)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _start(
        self, what: str, kind: str, who: str, address: str, context: Any, broker: str = "", *,
        links: Sequence[Receipt] = (), began: int | None = None,
    ) -> Span:  # fmt: skip
        attributes = {"messaging.operation.type": what, "messaging.destination.name": address[:MOST_TEXT], "thread.name": who}
        if broker:
            attributes["messaging.system"] = "mqtt" if broker.startswith("MQTT") else "rabbitmq"
            attributes["server.address"] = broker.rpartition(" ")[2]
        found = [self._trace.Link(span.get_span_context()) for each in links if (span := getattr(each, "trace", None))]
        name = f"{who} {what}" if what == "process" else f"{what} {address[:MOST_TEXT]}"
        return self._tracer.start_span(
            name, context, self._trace.SpanKind[kind], attributes=attributes, links=found, start_time=began
        )

    def _failed(self, span: Span, error: BaseException) -> None:
        text = str(scrub_report(f"{type(error).__name__}: {error}"))[:MOST_TEXT]
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, text))

    def _context(self, receipts: tuple[Receipt, ...], headers: Headers | None) -> Any:
        span = _of(receipts)
        return self._trace.set_span_in_context(span) if span is not None else self._extracted(headers)

    def _extracted(self, headers: Headers | None) -> Any:
        """The context that these headers name. None where they name none, or none that is valid."""
        if not headers or "traceparent" not in headers:
            return None
        carrier = {name: str(headers[name]) for name in ("traceparent", "tracestate") if name in headers}
        context = self._propagator.extract(carrier)
        return context if self._trace.get_current_span(context).get_span_context().is_valid else None

    def _injected(self, span: Span, headers: Headers | None) -> Headers:
        carrier: dict[str, Any] = dict(headers or {})
        carrier.pop("tracestate", None)
        self._propagator.inject(carrier, self._trace.set_span_in_context(span))
        return carrier


class _WayOut:
    """The span of a message on its way to a broker."""

    __slots__ = ("_span", "_tracing")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span

    def release(self) -> None:
        self._span.end()

    def fail(self, error: BaseException) -> None:
        self._tracing._failed(self._span, error)
        self._span.end()


def _of(receipts: Sequence[Receipt]) -> Any:
    """The span that hangs on the first of these that has one."""
    return next((span for each in receipts if (span := getattr(each, "trace", None)) is not None), None)


def _label(receipts: Sequence[Receipt]) -> str:
    return receipts[0].label if receipts else ""


def _wanted(environment: Mapping[str, str] | None = None) -> list[str]:
    """The exporters that the environment asks for, by OpenTelemetry's names."""
    environment = os.environ if environment is None else environment
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    if not any(environment.get(name) for name in _ON):
        return []
    names = [name.strip() for name in (environment.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")]
    return [name for name in names if name and name != "none"]


def _exporter(name: str) -> SpanExporter:
    from importlib.metadata import entry_points

    wanted = name
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        wanted = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = [each for each in entry_points(group="opentelemetry_traces_exporter") if each.name == wanted]
    if not found:
        package = f"opentelemetry-exporter-{wanted.replace('_', '-')}"
        raise ConfigError(
            f"traces are to go by {name!r} (OTEL_TRACES_EXPORTER), which is not installed: pip install {package}"
        )
    exporter: SpanExporter = found[0].load()()
    return exporter


def _shut_down(provider: TracerProvider) -> None:
    """Send what is left, for a moment: a collector that is away must not hold up the stop."""
    helper = threading.Thread(target=provider.shutdown, name="pylib-last-spans", daemon=True)
    helper.start()
    helper.join(LAST_SPANS)
