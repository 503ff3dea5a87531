"""An application under test between its brokers: start it, send to it, await what it publishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from pylib.app import AppThread
from pylib.application import Application
from pylib.data import JSON, MSGPACK, encode_json, make_payload
from pylib.testing.faults import FaultProxy
from pylib.testing.published import Kind, Published, Record, matcher

if TYPE_CHECKING:
    from pylib.runtime.runtime import Runtime
    from pylib.runtime.sockets import Socket
    from pylib.testing.watchers import AmqpWatcher, MqttWatcher

# Seconds that something expected may take, and that something unwanted is looked out for.
WITHIN = 5.0
QUIET = 0.2
_STEP = 0.005


class AppTester:
    """What the fixture ``app`` gives a test. Call it from the test's thread.

    It knows two brokers, each asked for when it is first needed, and looks on at both: everything on MQTT, and on AMQP what
    goes through the exchanges of a started ``Application`` and those named to ``watch``. It does not matter whether what is
    tested is made with this library: whatever talks to ``mqtt_url`` and ``amqp_url`` is seen. ::

        def test_a_dry_bed_is_watered(app):
            app.start(make_garden(app.mqtt_url, app.amqp_url))
            app.publish_mqtt("soil/bed/state", {"moisture": 3})
            [order] = app.expect("event.control.pump")
            assert order.body == {"bed": "soil/bed/state"}
            app.nothing_on("event.alarm.#")

    The test runs on the embedded brokers; on the real ones too with
    ``@pytest.mark.parametrize("app", ["embedded", "real"], indirect=True)``.
    """

    def __init__(self, runtime: Runtime, mqtt_url: Callable[[], str], amqp_url: Callable[[], str]) -> None:
        self.runtime = runtime
        self._mqtt_url, self._amqp_url = mqtt_url, amqp_url
        self._record = Record()
        self._stack = ExitStack()
        self._mqtt_watcher: MqttWatcher | None = None
        self._amqp_watcher: AmqpWatcher | None = None
        self._mqtt_line: FaultProxy | None = None
        self._amqp_line: FaultProxy | None = None
        self._ready: list[threading.Event] = []
        self._applications: list[Application] = []
        self._pipes: dict[tuple[int, str], Socket] = {}

    # -- the two brokers ---------------------------------------------------------------------------------------------

    @property
    def mqtt_url(self) -> str:
        """Address of the MQTT broker; from here on the test sees everything that is published to it."""
        self._mqtt()
        return self._mqtt_url()

    @property
    def amqp_url(self) -> str:
        """Address of the AMQP broker: an empty virtual host."""
        self._amqp()
        return self._amqp_url()

    @property
    def mqtt_line(self) -> FaultProxy:
        """A line to the MQTT broker that can be cut, frozen and robbed of packets; ``mqtt_line.url`` leads along it."""
        if self._mqtt_line is None:
            self._mqtt_line = self._stack.enter_context(FaultProxy.before(self.mqtt_url))
        return self._mqtt_line

    @property
    def amqp_line(self) -> FaultProxy:
        """A line to the AMQP broker that can be cut, frozen, blocked and robbed of frames."""
        if self._amqp_line is None:
            self._amqp_line = self._stack.enter_context(FaultProxy.before(self.amqp_url))
        return self._amqp_line

    # -- starting ----------------------------------------------------------------------------------------------------

    def start(self, *subjects: Application | AppThread, within: float = WITHIN) -> None:
        """Start applications, or threads of the library, and return when they are connected.

        An ``Application`` says itself when it is; a thread is given ``on_ready=app.ready()`` when it is made. Raises
        AssertionError when they are not in time. What was started is stopped after the test.
        """
        for subject in subjects:
            if isinstance(subject, Application):
                self._watch_exchanges(subject)
                self._applications.append(subject)
            subject.start()
        end = time.monotonic() + within
        for subject in subjects:
            if isinstance(subject, Application):
                assert subject.wait_until_ready(end - time.monotonic()), f"{subject.name} did not connect in {within:g} s"
        for number, each in enumerate(self._ready, 1):
            assert each.wait(max(0.0, end - time.monotonic())), f"ready() number {number} was not called in {within:g} s"

    def ready(self) -> Callable[[], None]:
        """What a thread is to call when it is connected: ``MqttSubscriber(..., on_ready=app.ready())``."""
        self._ready.append(threading.Event())
        return self._ready[-1].set

    def watch(self, exchange: str, *keys: str, kind: str = "topic", durable: bool = True) -> None:
        """See what is published to an exchange, which is declared as said. A direct exchange takes the keys to be seen."""
        self._amqp().watch(exchange, keys or ("#",), kind, durable)

    # -- sending -----------------------------------------------------------------------------------------------------

    def publish_mqtt(self, topic: str, payload: object = None, *, qos: int = 1, retain: bool = False) -> None:
        """Publish as another program would; returns, from QoS 1, when the broker has it.

        Bytes go as they are, text as UTF-8, None as an empty payload, the rest as JSON.
        """
        data = payload if isinstance(payload, bytes) else payload.encode() if isinstance(payload, str) else b""
        if payload is not None and not isinstance(payload, bytes | str):
            data = encode_json(payload)
        watcher = self._mqtt()
        self._record.mine("mqtt", "", topic, data)
        watcher.publish(topic, data, qos, retain)

    def publish_amqp(
        self, routing_key: str, body: object = None, *, exchange: str | None = None, json: bool = False, **properties: Any
    ) -> None:
        """Publish as another program would; returns when the broker has it.

        Bytes go as they are, the rest as the library's MessagePack, or as JSON. ``exchange`` is by default the only one that
        is watched; ``""`` sends to the queue named ``routing_key``. ``properties`` are those of ``pika.BasicProperties``.
        Raises pika's ``UnroutableError`` when no queue takes it.
        """
        if isinstance(body, bytes):
            data = body
        else:
            data = encode_json(body) if json else make_payload(body)
            properties.setdefault("content_type", JSON if json else MSGPACK)
        watcher = self._amqp()
        target = self._only_exchange() if exchange is None else exchange
        if target:
            self._record.mine("amqp", target, routing_key, data)
        watcher.publish(target, routing_key, data, properties)

    def send(self, url: str, message: object) -> None:
        """Send an object down a pipe of the application: ``app.send("inproc://in", {"a": 1})``."""
        self._pipe(zmq.PUSH, url).send_pyobj(message)

    def listen(self, url: str) -> None:
        """Be the one who takes from a pipe; say so before the thread that sends to it starts."""
        self._pipe(zmq.PULL, url)

    def receive(self, url: str, *, within: float = WITHIN) -> Any:
        """The next object that the application sends down a pipe. Raises AssertionError when none comes in time."""
        socket = self._pipe(zmq.PULL, url)
        assert socket.poll(int(within * 1000)), f"nothing came down {url} within {within:g} s"
        return socket.recv_pyobj()

    # -- outcomes ----------------------------------------------------------------------------------------------------

    def expect(
        self,
        address: str,
        count: int = 1,
        *,
        broker: Kind | None = None,
        where: Callable[[Published], bool] | None = None,
        within: float = WITHIN,
    ) -> list[Published]:
        """Wait for so many messages on a topic (or filter) or routing key (or binding key), and return them in order.

        ``where`` says which of them: ``where=lambda m: m.body["on"]``. Each message is returned once: the next call waits for
        the next ones. Raises AssertionError after ``within`` seconds, and says what came instead.
        """
        found = self._record.take(matcher(address, broker, where), count, within)
        if found is None:
            wanted = f"{count} message{'s' * (count != 1)} on {address}{' of the kind asked for' * (where is not None)}"
            raise AssertionError(f"{wanted} did not come within {within:g} s. {self._report()}")
        return found

    def nothing_on(self, address: str, *, broker: Kind | None = None, within: float = QUIET) -> None:
        """Fail when something is published there that ``expect`` has not returned.

        It waits until the application has dealt with every delivery and everything published has been seen, and then looks
        on for ``within`` seconds more, since nobody announces that nothing will come.
        """
        self.settle()
        found = self._record.take(matcher(address, broker, None), 1, within)
        if found:
            raise AssertionError(f"Nothing should have come on {address}, and this did: {found[0]}. {self._report()}")

    def settle(self, *, within: float = WITHIN) -> None:
        """Return when no delivery is open in the application, and everything published so far has been seen.

        A delivery is open until all that it caused has been accepted; one that waits for another try is on disk and not open.
        """
        end = time.monotonic() + within
        pause = threading.Event()
        while len(self.runtime.receipts):
            assert time.monotonic() < end, f"{len(self.runtime.receipts)} deliveries are still open after {within:g} s"
            pause.wait(_STEP)
        for watcher in (self._mqtt_watcher, self._amqp_watcher):
            if watcher is not None:
                watcher.settle(max(0.1, end - time.monotonic()))

    def dead_letters(self, count: int, *, within: float = WITHIN) -> list[str]:
        """Wait until the started applications have so many dead letters; the errors of all, oldest first."""
        end = time.monotonic() + within
        pause = threading.Event()
        while len(found := self._dead()) < count:
            assert time.monotonic() < end, f"there are {len(found)} dead letters after {within:g} s and not {count}: {found}"
            pause.wait(_STEP)
        return found

    def close(self) -> None:
        """Stop what was started while its brokers are still there, and leave them. The fixture does it after the test."""
        try:
            self.runtime.stop()
        finally:
            self._stack.close()

    # -- the inside --------------------------------------------------------------------------------------------------

    def _mqtt(self) -> MqttWatcher:
        if self._mqtt_watcher is None:
            from pylib.testing.watchers import MqttWatcher

            self._mqtt_watcher = self._stack.enter_context(closing(MqttWatcher(self._mqtt_url(), self._record)))
        return self._mqtt_watcher

    def _amqp(self) -> AmqpWatcher:
        if self._amqp_watcher is None:
            from pylib.testing.watchers import AmqpWatcher

            self._amqp_watcher = self._stack.enter_context(closing(AmqpWatcher(self._amqp_url(), self._record)))
        return self._amqp_watcher

    def _watch_exchanges(self, application: Application) -> None:
        """Look on at the application's exchanges before it starts, so that its first message is seen."""
        for broker in application._brokers:
            exchange, kind = broker.options.get("mq_exchange_name"), broker.options.get("mq_exchange_type")
            # What a direct exchange is asked for is known to the test alone: app.watch(exchange, "key", kind="direct").
            if broker.kind == "rabbitmq" and exchange and kind in ("topic", "fanout"):
                self.watch(exchange, "#", kind=kind)

    def _only_exchange(self) -> str:
        names = {each.partition(" ")[0] for each in self._amqp().watched}
        if len(names) != 1:
            known = ", ".join(sorted(names)) or "none"
            raise ValueError(f"Say where to publish it with exchange=: the exchanges known to the test are {known}.")
        return names.pop()

    def _pipe(self, kind: int, url: str) -> Socket:
        socket = self._pipes.get((kind, url))
        if socket is None:
            socket = self._pipes[kind, url] = self.runtime.sockets.open(kind, origin="a test's app.send() or app.receive()")
            (socket.bind if kind == zmq.PULL else socket.connect)(url)
        return socket

    def _dead(self) -> list[str]:
        from pylib.delivery.dead_letters import DeadLetters

        stores = {Path(broker.options["store"]) for each in self._applications for broker in each._brokers}
        errors: list[str] = []
        for store in sorted(stores):
            if store.exists():
                with closing(DeadLetters(store)) as letters:
                    errors += [letter.error for letter in reversed(letters.list(1000))]
        return errors

    def _report(self) -> str:
        seen = "; ".join(map(str, self._record.waiting())) or "nothing"
        watched = ["everything on MQTT"] if self._mqtt_watcher is not None else []
        watched += self._amqp_watcher.watched if self._amqp_watcher is not None else []
        return f"Waiting is: {seen}. The test looks on at: {', '.join(watched) or 'nothing yet'}."
