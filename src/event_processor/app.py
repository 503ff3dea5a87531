"""The composition root: the only place of the hub that names concrete classes and joins them.

MQTT broker --> MqttSubscriber --+                                                      +--> MqttSubscriber --> MQTT broker
                                 +--> HeartbeatFilter --> EventProcessor --> StoreWriter
RabbitMQ -----> ZMQListener -----+                                                      +--> RabbitMQRelay ---> RabbitMQ
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from event_processor.causes import Causes
from event_processor.discovery.announce import HubView, announcement_topic
from event_processor.discovery.commands import command
from event_processor.discovery.discovery import CONVENTIONS, Discovery
from event_processor.discovery.templates import Templates
from event_processor.domain.engine import Engine
from event_processor.domain.liveness import Liveness
from event_processor.domain.mapping import outside
from event_processor.domain.outcome import Change, Scope
from event_processor.domain.pictures import names_in
from event_processor.domain.registry import Registry
from event_processor.domain.rule_file import RuleFile
from event_processor.domain.rulebook import MODES, Rulebook, compile_rules
from event_processor.domain.schedules import Timetable
from event_processor.heartbeat import HeartbeatFilter
from event_processor.metering import Meters
from event_processor.notify.notifier import Notifier
from event_processor.notify.targets import load_targets
from event_processor.notify.telling import Teller
from event_processor.pictures import Pictures
from event_processor.presence import URL_PRESENCE, Presence, concerns, read_announced, setting_of, view_of
from event_processor.processor import URL_STORE, EventProcessor
from event_processor.reading import raw_mqtt, read_rabbitmq
from event_processor.settings import (
    House,
    HubSettings,
    all_schedules,
    place_of_rules,
    read_rules,
    read_schedules,
    with_rules,
)
from event_processor.settings.connecting import addresses, tls_options
from event_processor.steering import StoreProblems, offer
from event_processor.store.album import Album
from event_processor.store.images import ImageFolder, ImageSweep
from event_processor.store.keeper import Loaded
from event_processor.store.reader import Reader
from event_processor.store.retention import Limits, Sweep
from event_processor.store.samples import samples_of_store
from event_processor.store.writer import StoreWriter
from event_processor.web.start import open_web
from pylib.app import AppThread
from pylib.brokers.addresses import Address
from pylib.brokers.inflow import Route
from pylib.brokers.port import Delivery
from pylib.config import app_config
from pylib.config.folders import state_folder
from pylib.errors import ConfigError
from pylib.mqtt import MqttSubscriber, Will
from pylib.observe.control import Control, control_path
from pylib.observe.observing import Observing
from pylib.rabbit import RabbitMQRelay, Reconnect, ZMQListener
from pylib.runtime.runtime import Runtime
from pylib.zmq import URL_HEARTBEAT_NANNY, URL_RABBIT_MQ_PUBLISHER

__all__ = ["Hub", "build", "rulebook", "sweep_of"]

log = logging.getLogger("event_processor")

# In the state folder.
DATABASE: Final = "hub.db"
NOTES: Final = "notes.db"
IMAGES: Final = "images"


class Hub:
    """The hub's threads, in the order in which they start: consumers first, sources last, so that nothing arrives
    before somebody is there to take it. ``build`` makes one; one thread starts and waits.
    """

    def __init__(self, runtime: Runtime, settings: HubSettings, device: str, reconnect: Reconnect) -> None:
        self.runtime = runtime
        self.settings = settings
        self.ready = threading.Event()
        self._missing = {"MQTT", "RabbitMQ"}
        self._arriving = threading.Lock()  # the connections' threads: one of them is the last
        rabbit_addresses, mqtt_addresses = addresses(settings)  # what is wrong with them is said before anything is opened
        house, folder = settings.house, state_folder(application="event-processor")
        self.writer = StoreWriter(
            house.database or folder / DATABASE,
            source_url=URL_STORE,
            sweep=sweep_of(house, folder),
            name="StoreWriter",
        )
        loaded = self.writer.load()
        changes = [Change(scope, key, value) for (scope, key), value in loaded.state.items()]
        file = read_rules(settings)
        group = house.group or device
        status = f"event_processor/{re.sub(r'[+#/]', '-', group)}/status"
        view = HubView(id=group, prefix=house.discovery_prefix, availability=status)
        self.processor = EventProcessor(
            _engine(settings, file, loaded, changes),
            _timetable(settings, loaded),
            Meters(settings.meters, _states(loaded, "meter"), house.timezone),
            _causes(loaded),
            sink_zmq_url=URL_STORE,
            show=lambda engine: self.presence.show(view_of(engine, view)),
        )
        notifier = _notifier(house, folder)
        relay = _relay(settings, rabbit_addresses, reconnect)
        listener = _listener(settings, rabbit_addresses, reconnect, lambda: self._arrived("RabbitMQ"))
        discovery = _discovery(settings, changes, own=announcement_topic(view))
        self.presence = Presence(
            view,
            read_announced(loaded.state.get(("setting", setting_of(view)))),
            wanted=house.discovery and house.announce,
            link=lambda: None if (link := subscriber.member.link) is None else link(),
        )
        subscriber = MqttSubscriber(
            mqtt_addresses,
            (*settings.subscriptions, *outside(settings.subscriptions, (*discovery.filters, *self.presence.filters))),
            sink_urls={"": URL_HEARTBEAT_NANNY, "presence": URL_PRESENCE},
            route=_route(status, concerns(view)),
            client_id=settings.client_id,
            birth=Will(status, b"online"),
            last_will=Will(status, b"offline"),
            tls=tls_options(settings.mqtt),
            reconnect=reconnect,
            on_ready=self._listens,
        )
        pictures = Pictures(ImageFolder(folder / IMAGES), names_in(changes))
        self.heartbeats = _heartbeats(settings, discovery, changes, subscriber, pictures)
        self.threads: tuple[AppThread, ...] = (
            relay, notifier, self.writer, self.processor, self.presence, self.heartbeats, listener, subscriber
        )  # fmt: skip
        problems = StoreProblems(self.writer.health)
        web = open_web(
            settings,
            runtime,
            state=loaded.state,
            writer=self.writer,
            processor=self.processor,
            compile=lambda file: rulebook(settings, file),
            schedules=lambda file: all_schedules(settings, file, runtime.clock.time()),
            problems=problems,
            database=house.database or folder / DATABASE,
            folder=folder,
            images=folder / IMAGES,
            rules=settings.rules_path or Path(app_config.path).absolute().parent / "rules.toml",
        )
        if web is not None:
            self.threads += (web,)
        self.observing = Observing(runtime, "event-processor", problems, lambda: samples_of_store(self.writer.health()))
        self.control = Control(runtime, control_path(folder), problems)
        offer(
            self.control,
            self.processor,
            self.writer,
            lambda: _rules_again(settings, self.processor),
            lambda: all_schedules(settings, read_schedules(settings), runtime.clock.time()),
        )

    def start(self) -> None:
        """Start the threads. Returns at once: the connections come by themselves; the last one sets ``ready``."""
        for thread in self.threads:
            thread.start()
        self.control.start()
        self.observing.start()

    def wait(self) -> None:
        """Sleep until somebody asks for the stop."""
        self.runtime.latch.wait()

    def _listens(self) -> None:
        self.presence.connected()
        self._arrived("MQTT")

    def _arrived(self, who: str) -> None:
        """A connection is up. Called on the connection's thread, also when it came back."""
        with self._arriving:
            self._missing.discard(who)
            last = not self._missing and not self.ready.is_set()
            if last:
                self.ready.set()
        if last:
            self.processor.listening()
            log.info("The event processor is ready: it listens to MQTT and RabbitMQ.")


def build(settings: HubSettings, runtime: Runtime, *, device: str, reconnect: Reconnect = True) -> Hub:
    """Make the hub's threads and their pipes within ``runtime``, and open its store. Connects to nothing yet.

    :param device: the name of this machine, for the topic on which the hub says that it is there.
    :param reconnect: what a failed connection leads to; see ``pylib.rabbit.Reconnect``.
    :raises ConfigError: an address or a rule cannot be understood, or the store is another program's.
    """
    with runtime.active():
        return Hub(runtime, settings, device, reconnect)


def rulebook(settings: HubSettings, file: RuleFile) -> Rulebook:
    """All rules of a hub: those of ``app.conf`` and those of the rule file. Raises ``ConfigError``."""
    templates = Templates()
    return Rulebook(
        compile_rules((*settings.links, *file.rule)),
        outputs=settings.outputs,
        modes=file.mode or MODES,
        groups=file.group,
        zone=settings.house.zone,
        disabled=settings.policy.disabled,
        control_expiry_s=settings.house.control_expiry_s,
        render=lambda form, what: command(form, what, templates, time.time()).payload,
    )


def _notifier(house: House, folder: Path) -> Notifier:
    teller = Teller(URL_STORE)
    album = Album(Reader(house.database or folder / DATABASE), ImageFolder(folder / IMAGES))
    notifier = Notifier(
        load_targets(app_config, house.timezone),
        folder / NOTES,
        images=folder / IMAGES,
        picture_of=album.latest,
        on_told=teller.told,
        on_event=teller.event,
    )
    teller.join(notifier)
    return notifier


def sweep_of(house: House, folder: Path) -> Sweep:
    """What is forgotten, and when, of a hub whose state folder this is."""
    most_bytes = int(house.keep_picture_mib * 1024 * 1024)
    images = ImageSweep(ImageFolder(folder / IMAGES), days=house.keep_picture_days, most_bytes=most_bytes)
    limits = Limits(
        events_days=house.keep_days, audit_days=house.keep_audit_days, most_bytes=int(house.keep_mib * 1024 * 1024)
    )
    return Sweep(limits, images=images)


def _relay(settings: HubSettings, where: tuple[Address, ...], reconnect: Reconnect) -> RabbitMQRelay:
    """The way of control messages to the output applications."""
    rabbit = settings.rabbitmq
    return RabbitMQRelay(
        URL_RABBIT_MQ_PUBLISHER,
        where,
        rabbit.control_exchange,
        mq_exchange_type="direct",
        mq_arguments={"x-message-ttl": int(settings.house.control_expiry_s * 1000)},
        name="RabbitMQRelay",
        wait=True,
        tls=tls_options(rabbit),
        reconnect=reconnect,
    )


def _listener(
    settings: HubSettings, where: tuple[Address, ...], reconnect: Reconnect, on_ready: Callable[[], None]
) -> ZMQListener:
    """The way in from applications. Hubs that stand in for each other share its queue."""
    rabbit, group = settings.rabbitmq, settings.house.group
    return ZMQListener(
        zmq_url=URL_HEARTBEAT_NANNY,
        mq_server_address=where,
        mq_exchange_name=rabbit.mq_exchange,
        mq_topic_filter=rabbit.topic_filter,
        mq_exchange_type="topic",
        name="ZMQListener",
        queue=f"event_processor.{group}.{rabbit.mq_exchange}" if group else None,
        decode=read_rabbitmq,
        tls=tls_options(rabbit),
        reconnect=reconnect,
        on_ready=on_ready,
    )


def _engine(settings: HubSettings, file: RuleFile, loaded: Loaded, changes: list[Change]) -> Engine:
    registry = Registry()
    registry.restore(changes)
    engine = Engine(rulebook(settings, file), registry)
    engine.restore((scope, key, value) for (scope, key), value in loaded.state.items())
    return engine


def _rules_again(settings: HubSettings, processor: EventProcessor) -> Rulebook:
    """The rules of the file as it is now. A file that is gone is a mistake, and no wish to be without an alarm."""
    now = with_rules(settings, app_config)
    book = rulebook(settings, read_rules(now))
    if now.rules_path is None and processor.rules > len(book.rules):
        place = place_of_rules(settings.house, app_config)
        raise ConfigError(f"{place} is gone. The hub keeps its rules: put the file back, or an empty one to have no rules.")
    return book


def _timetable(settings: HubSettings, loaded: Loaded) -> Timetable:
    schedules = all_schedules(settings, read_schedules(settings), time.time())
    return Timetable(schedules, _states(loaded, "schedule"), place=settings.house.place)


def _states(loaded: Loaded, wanted: Scope) -> dict[str, bytes]:
    return {key: value for (scope, key), value in loaded.state.items() if scope == wanted}


def _causes(loaded: Loaded) -> Causes:
    causes = Causes()
    causes.restore(loaded.causes, loaded.times)
    return causes


def _route(own_topic: str, for_presence: Callable[[str], bool]) -> Route:
    """What goes down which pipe: what is meant for the hub itself, and what devices say."""
    take = raw_mqtt(own_topic=own_topic)

    def route(delivery: Delivery) -> Sequence[tuple[str, object]]:
        raw = take(delivery)
        return () if raw is None else (("presence" if for_presence(raw.topic) else "", raw),)

    return route


def _discovery(settings: HubSettings, changes: list[Change], own: str) -> Discovery:
    registry = Registry()
    registry.restore(changes)
    conventions = CONVENTIONS if settings.house.discovery else ("seed",)
    prefix = settings.house.discovery_prefix
    discovery = Discovery(registry, mappings=settings.mappings, conventions=conventions, prefix=prefix, own=(own,))
    discovery.restore(changes)
    return discovery


def _heartbeats(
    settings: HubSettings, discovery: Discovery, changes: list[Change], subscriber: MqttSubscriber, pictures: Pictures
) -> HeartbeatFilter:
    liveness = Liveness(time.time())
    liveness.restore(changes)
    return HeartbeatFilter(
        discovery,
        discovery.registry,
        liveness,
        subscribe=lambda topics: subscriber.subscribe(outside(settings.subscriptions, topics)),
        link=subscriber.member.link,
        pictures=pictures,
    )
