"""Home Assistant sees the hub: a thread that tells it what there is, and hands on what it asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

import msgspec
import zmq
from zmq.error import Again

from event_processor.discovery.announce import (
    HubDevice,
    HubRule,
    HubView,
    Message,
    announcement,
    announcement_topic,
    command_filters,
    components,
    is_birth,
    read_command,
    slug_of,
    states,
)
from event_processor.domain.engine import Engine
from event_processor.domain.heard import Raw
from event_processor.domain.memos import ModeState
from event_processor.domain.outcome import Change, Outcome
from event_processor.domain.prompts import Request
from event_processor.store.sinks import URL_STORE
from pylib.app import LoopThread
from pylib.brokers.identity import new_id
from pylib.runtime.here import HERE
from pylib.runtime.loop import READ, Loop
from pylib.runtime.wiring import Link
from pylib.zmq import URL_MQTT_PUBLISH, URL_WORKER_APP, Closable

__all__ = ["URL_PRESENCE", "Announced", "Presence", "concerns", "read_announced", "setting_of", "view_of"]

log = logging.getLogger("event_processor.presence")

URL_PRESENCE: Final = "inproc://presence"
MOST_SHOWN: Final = 200
"""Devices whose presence Home Assistant is told: an announcement is one message, and brokers bound its size."""

# What was announced: the platform and the topic of the state, by the entity's id.
Announced = Mapping[str, tuple[str, str]]


def view_of(engine: Engine, like: HubView) -> HubView:
    """What there is to see, on the thread that owns the engine. ``like`` has the names and topics."""
    state, book = engine.state, engine.book
    mode = state.modes.get("house") or ModeState(book.first_mode)
    rules = [compiled.rule for compiled in book.rules.values()]
    devices = islice(engine.registry.devices.values(), MOST_SHOWN)
    return msgspec.structs.replace(
        like,
        modes=tuple(each.name for each in book.modes.values()),
        mode=mode.current,
        maintenance=state.settings.get("maintenance:") is True,
        rules=tuple(
            HubRule(rule.title, rule.enabled and state.settings.get(f"enabled:rule:{rule.id.lower()}") is not False, rule.id)
            for rule in rules
        ),
        devices=tuple(HubDevice(each.id, each.name, _online(engine, each.id)) for each in devices),
        buttons=tuple(dict.fromkeys(trigger.signal for rule in rules for trigger in rule.trigger if trigger.signal)),
    )


def _online(engine: Engine, device: str) -> bool | None:
    """Whether a device is there: as it was said last; else, one that was heard is."""
    alive = engine.state.online.get(device)
    if alive is not None:
        return alive.online
    seen = (engine.state.values.get(key) for key in engine.registry.keys_of(device))
    return True if any(one is not None and one.known for one in seen) else None


def concerns(view: HubView) -> Callable[[str], bool]:
    """Make the quick test whether a topic is one of those that ``command_filters`` asks for. Any thread."""
    start, birth = f"{view.base}/{slug_of(view.id)}/", f"{view.prefix}/status"
    return lambda topic: topic == birth or (topic.startswith(start) and topic.endswith("/set"))


def setting_of(view: HubView) -> str:
    """The key of the setting in which it is kept what was announced."""
    return f"announced:{view.id}"


def read_announced(value: bytes | None) -> Announced:
    """What was announced, as it was kept; nothing where that cannot be read."""
    try:
        return {} if value is None else msgspec.json.decode(value, type=dict[str, tuple[str, str]])
    except msgspec.DecodeError:
        return {}


class Presence(LoopThread, Closable):
    """Publishes ``show``'s latest view: what changed at once, all of it on each connection and when Home Assistant starts.

    Whatever was announced once and is no more is taken away, also if it went while the hub was down: what is announced is
    kept in the store. Nobody waits for this thread: a view replaces the one before.

    :param wanted: whether the hub is to be seen. If not, what was announced earlier is taken away.
    :param link: how the MQTT connection is. Nothing is published while there is none.
    """

    def __init__(
        self, like: HubView, announced: Announced, *, wanted: bool = True, link: Callable[[], Link | None] | None = None
    ) -> None:
        LoopThread.__init__(self, "Presence")
        Closable.__init__(self, connect_url=URL_PRESENCE)
        self._view: HubView | None = None
        self._like = like
        self._announced: Announced = announced
        self._wanted = wanted
        self._link = link
        self._shown: HubView | None = None
        self._payload = ""
        self._outlets = {}
        for url in (URL_MQTT_PUBLISH, URL_WORKER_APP, URL_STORE):
            self._outlets[url] = self.get_socket(zmq.PUSH)
            self._outlets[url].connect(url)

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to for it."""
        return command_filters(self._like) if self._wanted else ()

    # -- from any thread ---------------------------------------------------------------------------------------------

    def show(self, view: HubView) -> None:
        """Have this seen. Never blocks."""
        self._post(lambda: self._take(view))

    def connected(self) -> None:
        """There is a connection, or there is one again: everything is published."""
        self._post(lambda: self._publish(everything=True))

    def _post(self, call: Callable[[], None]) -> None:
        loop = self.member.loop
        if loop is not None:
            loop.post(call)

    # -- on the thread -----------------------------------------------------------------------------------------------

    def arrange(self, loop: Loop) -> None:
        loop.watch(self.socket, READ, lambda mask: self._hear())
        loop.post(lambda: self._publish(everything=True))

    def _take(self, view: HubView) -> None:
        self._view = view
        self._publish(everything=False)

    def _hear(self) -> None:
        try:
            raw = self.socket.recv_pyobj(zmq.NOBLOCK)
        except Again:
            return
        receipts = HERE.receipts
        try:
            self._heard(raw)
        finally:
            HERE.receipts = ()
            for receipt in receipts:
                receipt.release()

    def _heard(self, raw: object) -> None:
        view = self._view
        if not isinstance(raw, Raw) or view is None:
            return
        if is_birth(view, raw.topic, raw.body):
            self._publish(everything=True)
            return
        asked = read_command(view, raw.topic, raw.body, retained=raw.retained)
        if asked is None:
            log.warning("Home Assistant asked for something that the hub does not have, on %s.", raw.topic)
            return
        what, about, value = "set_mode", asked.value, None
        if asked.what == "maintenance":
            what, about, value = "maintenance", "", asked.value == "ON"
        elif asked.what == "rule":
            rule = next(rule for rule in view.rules if rule.slug == asked.slug)
            what, about = "enable" if asked.value == "ON" else "disable", f"rule:{rule.id}"
        elif asked.what == "button":
            what, about = "signal", next(button for button in view.buttons if slug_of(button) == asked.slug)
        request = Request(id=f"mqtt~{raw.message_id}", at=raw.at, what=what, who="Home Assistant", about=about, value=value)
        self._outlets[URL_WORKER_APP].send_pyobj(request)
        self._shown = None  # a wish that is refused is to be seen as refused: the states are told again

    def _publish(self, *, everything: bool) -> None:
        view, link = self._view, self._link() if self._link is not None else None
        if link is not None and not link.up:
            self._shown, self._payload = None, ""
            return
        if not self._wanted:
            self._withdraw()
        elif view is not None:
            self._tell(view, everything)

    def _tell(self, view: HubView, everything: bool) -> None:
        now = {id: (str(entry["p"]), str(entry.get("state_topic", ""))) for id, entry in components(view).items()}
        gone = {id: entry for id, entry in self._announced.items() if id not in now}
        plain = announcement(view).payload
        if everything or gone or plain != self._payload:
            self._send(announcement(view, {id: platform for id, (platform, _) in gone.items()}))
            self._payload = plain
        self._clear(gone)
        for message in states(view, None if everything else self._shown):
            if message.payload:  # what is gone is cleared already
                self._send(message)
        self._shown = view
        self._remember(now)

    def _withdraw(self) -> None:
        """The hub is not to be seen any more."""
        if self._announced:
            self._send(Message(announcement_topic(self._like), "", True))
            self._clear(self._announced)
            self._remember({})

    def _clear(self, gone: Announced) -> None:
        for _, topic in gone.values():
            if topic:
                self._send(Message(topic, "", True))

    def _remember(self, announced: Announced) -> None:
        if announced != self._announced:
            self._announced = announced
            value = msgspec.json.encode(announced) if announced else None
            change = Change("setting", setting_of(self._like), value)
            self._outlets[URL_STORE].send_pyobj(Outcome(cause=new_id(), at=self.runtime.clock.time(), changes=(change,)))

    def _send(self, message: Message) -> None:
        how = {"qos": 1, "retain": message.retain}
        self._outlets[URL_MQTT_PUBLISH].send_pyobj((message.topic, message.payload or None, how))
