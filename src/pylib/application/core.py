"""The application: composes brokers, handlers and timers from the library's threads, and runs them."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, Unpack

from pylib.app import AppThread
from pylib.application.asynchronous import AsyncThread, AsyncWorker
from pylib.application.binding import Handler, Middleware, is_async, name_of
from pylib.application.brokers import Broker, Registration, wrapped
from pylib.application.filters import disjoint
from pylib.application.hops import traced
from pylib.application.options import CONSUMING, PUBLISHING, MqttSettings, RabbitSettings, checked
from pylib.application.workers import TimerThread, Worker
from pylib.brokers.addresses import AddressLike
from pylib.config import app_config
from pylib.config.folders import state_folder
from pylib.delivery.letters import store_path
from pylib.errors import ConfigError
from pylib.mqtt import MqttSubscriber
from pylib.observe.control import Control, control_path
from pylib.observe.logging import configure_logging
from pylib.observe.observing import Observing
from pylib.observe.reporting import configure_reporting
from pylib.process import SignalHandler
from pylib.rabbit import RabbitMQConsumer, RabbitMQRelay
from pylib.runtime.runtime import Runtime, current
from pylib.threads import bye

__all__ = ["Application"]

log = logging.getLogger("pylib.application")

F = TypeVar("F", bound=Handler)


class Application:
    """The short way in: brokers, handlers, run. It adds no mechanism of its own; whatever it does, the classes beneath do.

    ::

        app = Application("garden")
        mqtt = app.mqtt("localhost")
        rabbit = app.rabbitmq("localhost", exchange="home")

        @mqtt.on("soil/+/state")
        def water(reading: Reading, topic: str):
            if reading.moisture < 20:
                return rabbit.message("event.control.pump", {"seconds": 30}, expires=90)

        app.run()

    A handler is a plain function and stays one: a test calls it and compares what it returns. Each runs on a supervised thread
    of its own. A message is acknowledged to its broker when everything that its handlers returned has been accepted.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or app_config.app_name()
        self.runtime: Runtime = current()
        self._brokers: list[Broker] = []
        self._around: list[Middleware] = []
        self._timers: list[tuple[float, Callable[[], Any], str]] = []
        self._threads: list[AppThread] = []
        self._started = False
        self._up: list[threading.Event] = []

    # -- composing ---------------------------------------------------------------------------------------------------

    def mqtt(self, address: AddressLike | None = None, *, name: str = "mqtt", **options: Unpack[MqttSettings]) -> Broker:
        """An MQTT broker: an address or several, ``[mqtt] server_address`` of ``app.conf`` by default.

        ``options`` are those of ``MqttSubscriber``: client_id, tls, last_will, birth, spool, retry and so on.
        """
        mine = checked(options, MqttSettings, "app.mqtt()")
        mine["mqtt_server_address"] = address
        # Stable, so that the broker keeps what arrives while we are away; and of its own for each connection.
        own = self.name if name == "mqtt" else f"{self.name}-{name}"
        mine.setdefault("client_id", f"{own}-{app_config.device_name()}")
        return self._add(Broker(name, "mqtt", "", mine))

    def rabbitmq(
        self, address: AddressLike | None = None, *, exchange: str | None = None, exchange_type: str = "topic",
        name: str = "rabbitmq", **options: Unpack[RabbitSettings],
    ) -> Broker:  # fmt: skip
        """A RabbitMQ and one exchange: an address or several, ``[rabbitmq]`` of ``app.conf`` by default.

        ``options``: queue, prefetch, retry, spool, reject_unroutable, tls and so on, as for ``RabbitMQConsumer`` and
        ``RabbitMQRelay``.
        """
        mine = checked(options, RabbitSettings, "app.rabbitmq()")
        mine["mq_server_address"] = address if address is not None else app_config.get("rabbitmq", "server_address")
        mine["mq_exchange_name"] = exchange if exchange is not None else app_config.get("rabbitmq", "mq_exchange")
        mine["mq_exchange_type"] = exchange_type
        return self._add(Broker(name, "rabbitmq", exchange_type, mine))

    @property
    def brokers(self) -> tuple[Broker, ...]:
        """The brokers, in the order in which they were named."""
        return tuple(self._brokers)

    def every(self, seconds: float) -> Callable[[F], F]:
        """Have a function called at once and then every so many seconds, and what it returns sent. Returns the function.

        All of them share one thread. Raises ``ConfigError`` for a function that takes arguments or is ``async``.
        """
        if not seconds > 0:
            raise ConfigError(f"app.every({seconds}): the time between two calls has to be more than 0 seconds")

        def register(function: F) -> F:
            name = name_of(function)
            if is_async(function):
                raise ConfigError(f"app.every({seconds:g}): {name} is async; a timer calls a plain function")
            wanted = [each.name for each in inspect.signature(function).parameters.values()
                      if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]  # fmt: skip
            if wanted:
                raise ConfigError(f"app.every({seconds:g}): {name} is called without arguments, and wants {', '.join(wanted)}")
            self._check_open(f"timer {name}")
            self._timers.append((seconds, function, name))
            return function

        return register

    def around(self, middleware: Middleware) -> Middleware:
        """Put a function around every handler: it gets the call and the delivery, and returns what the call returned.

        The first one registered is outermost. Around an ``async def`` handler the call returns something to await.
        """
        self._check_open(f"middleware {name_of(middleware)}")
        self._around.append(middleware)
        return middleware

    def add(self, thread: AppThread) -> AppThread:
        """Have a thread of one's own started and stopped with the application."""
        if not isinstance(thread, AppThread):
            raise ConfigError(f"app.add() takes a thread that is an AppThread, not {thread!r}")
        self._check_open(f"thread {thread.name}")
        self._threads.append(thread)
        return thread

    # -- running -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything, consumers first and sources last; returns at once. For tests and for hosts with a main loop.

        From then on ``pylib wiring``, ``top`` and ``tap`` can ask it, by a socket in its state folder that only its user can
        open; ``[app] control = no`` forbids it. Raises ``ConfigError`` when there is nothing to start, or an option
        is unusable; then nothing has started.
        """
        if self._started:
            raise ConfigError(f"{self.name} has started already")
        self._check()
        control = app_config.getboolean("app", "control", fallback=True)
        observing = Observing(self.runtime, self.name)
        self._started = True
        for broker in self._brokers:
            broker.sealed = True
        with self.runtime.active():
            for thread in self._compose():
                thread.start()
        if control and not self.runtime.stopping:
            Control(self.runtime, control_path(state_folder(application=self.name)), name=self.name).start()
        if not self.runtime.stopping:
            observing.start()

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until every connection is made and subscribed, at most so many seconds. True if they are. Any thread."""
        end = time.monotonic() + timeout
        return all(each.wait(max(0.0, end - time.monotonic())) for each in self._up)

    def stop(self) -> list[str]:
        """Run the staged stop; returns a description of what was left behind, which is nothing."""
        return self.runtime.stop()

    def run(self) -> NoReturn:
        """Run until a signal or a failure: handlers for signals, the staged stop, the exit code. Main thread.

        Exits with code 0 after TERM or INT, and with code 1 when it cannot start or something failed for good.
        """
        with self.runtime.active():
            configure_logging()
            SignalHandler()
            try:
                configure_reporting()
                self.start()
            except ConfigError as error:
                self.runtime.trip(error)
            else:
                log.info("%s is running: %s.", self.name, "; ".join(self._words()))
                self.runtime.latch.wait()
            bye()

    def _add(self, broker: Broker) -> Broker:
        self._check_open(f"broker {broker.name}")
        if any(each.name == broker.name for each in self._brokers):
            raise ConfigError(f"{self.name} has a broker named {broker.name!r} already; give one of them another with name=")
        self._brokers.append(broker)
        # What failed waits under the application's own name, whatever the script is called.
        broker.options.setdefault("store", store_path(application=self.name))
        return broker

    def _check_open(self, what: str) -> None:
        if self._started:
            raise ConfigError(f"{what}: the application has started; say so before run()")

    def _check(self) -> None:
        """What can be known to be wrong before anything starts."""
        registrations = [each for broker in self._brokers for each in broker.registrations]
        if not (registrations or self._timers or self._threads):
            raise ConfigError(f"{self.name} has nothing to do: no handler, timer or thread is registered. Is the module with "
                              "the handlers imported?")  # fmt: skip
        for middleware in self._around:
            plain = next((each.name for each in registrations if not each.binding.is_async), None)
            if plain is not None and is_async(middleware):
                raise ConfigError(f"middleware {name_of(middleware)} is async and cannot be around handler {plain}, which is "
                                  "not; make it a plain function")  # fmt: skip

    def _when_up(self) -> Callable[[], None]:
        self._up.append(threading.Event())
        return self._up[-1].set

    def _outlet(self, broker: Broker) -> str:
        return f"inproc://{self.name}/to/{broker.name}"

    def _pipe(self, name: str) -> str:
        return f"inproc://{self.name}/{name}"

    def _compose(self) -> list[AppThread]:
        """Every thread, in the order of starting: ways out, workers, timers, ways in."""
        outlets = {broker.name: self._outlet(broker) for broker in self._brokers}
        ways_out: list[AppThread] = []
        ways_in: list[AppThread] = []
        for broker in self._brokers:
            (ways_in if broker.kind == "mqtt" else ways_out).append(self._way_out(broker))
            if broker.kind == "rabbitmq" and broker.registrations:
                ways_in.append(self._way_in(broker))
        workers: list[AppThread] = []
        asyncio_thread: AsyncThread | None = None
        for broker in self._brokers:
            for registration in broker.registrations:
                if registration.binding.is_async and asyncio_thread is None:
                    asyncio_thread = AsyncThread()
                    workers.append(asyncio_thread)
                workers += self._workers(broker, registration, outlets, asyncio_thread)
        if self._timers:
            workers.append(TimerThread(self._timers, self._pipe("timers"), outlets))
        return [*ways_out, *workers, *self._threads, *ways_in]

    def _sinks(self, broker: Broker) -> dict[str, str]:
        return {pipe: self._pipe(f"{broker.name}/{pipe}") for each in broker.registrations for pipe in each.pipes()}

    def _way_out(self, broker: Broker) -> AppThread:
        """For MQTT the way out is the way in too: one connection."""
        options = broker.options
        if broker.kind == "mqtt":
            topics = disjoint((each.pattern for each in broker.registrations), broker.name)
            return MqttSubscriber(mqtt_topics=topics, name=broker.name, sink_urls=self._sinks(broker), route=broker.route,
                                  pipe_order=broker.order_key, publish_urls=[self._outlet(broker)],
                                  on_ready=self._when_up(), **options)  # fmt: skip
        mine = {name: value for name, value in options.items() if name not in CONSUMING}
        return RabbitMQRelay(self._outlet(broker), name=broker.name, wait=True, on_ready=self._when_up(), **mine)

    def _way_in(self, broker: Broker) -> AppThread:
        # A connection of its own: while an alarm blocks the publishing one, acknowledgements still get through.
        options = {name: value for name, value in broker.options.items() if name not in PUBLISHING}
        keys = tuple(dict.fromkeys(each.pattern for each in broker.registrations))
        queue = options.pop("queue", f"{self.name}.{app_config.device_name()}.{options['mq_exchange_name']}"[:255])
        return RabbitMQConsumer(self._sinks(broker), broker.route, mq_topic_filter=keys, queue=queue,
                                name=f"{broker.name} consumer", pipe_order=broker.order_key, on_ready=self._when_up(),
                                **options)  # fmt: skip

    def _workers(
        self, broker: Broker, registration: Registration, outlets: dict[str, str], asyncio_thread: AsyncThread | None
    ) -> list[AppThread]:
        call = wrapped(registration.binding, self._around)
        name, deadline = registration.name, registration.deadline
        if self.runtime.receipts.hops is not None:
            call = traced(self.runtime.receipts.hops, name, call, is_async=registration.binding.is_async)
        if registration.binding.is_async and asyncio_thread is not None:
            url = self._pipe(f"{broker.name}/{name}")
            return [AsyncWorker(name, url, call, outlets, asyncio_thread, registration.workers, registration.order, deadline)]
        return [
            Worker(pipe, name, self._pipe(f"{broker.name}/{pipe}"), call, outlets, registration.order, deadline)
            for pipe in registration.pipes()
        ]

    def _words(self) -> list[str]:
        handlers = [
            f"{each.name} on {broker.name} {each.pattern}" + (f" ({each.workers} workers)" if each.workers > 1 else "")
            for broker in self._brokers
            for each in broker.registrations
        ]
        timers = [f"{name} every {seconds:g} s" for seconds, _, name in self._timers]
        return [*handlers, *timers, *(thread.name for thread in self._threads)]
