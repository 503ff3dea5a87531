"""What one MQTT connection listens to: asked for again on every connection, and added to while it stands."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from paho.mqtt.client import MQTTv5
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from pylib.brokers.liveness import Canary
from pylib.brokers.mqtt_client import PahoClient
from pylib.brokers.topics import check_filter

__all__ = ["Subscriptions"]

log = logging.getLogger("pylib.mqtt")

_GRANTED: Final = 2  # SUBACK: reason codes up to this are the granted QoS (MQTT 5 section 3.9.3)
# Filters in one SUBSCRIBE: brokers bound the size of a packet, and some the number of filters in it.
_AT_ONCE: Final = 100


class Subscriptions:
    """The filters of one port, in the order in which they were asked for. Belongs to the port's thread.

    Guarantee: the first ones decide whether the connection is of use; a later one that the broker refuses costs that one
    filter, is said once, and is not asked for again.
    """

    def __init__(self, wanted: Sequence[tuple[str, int]], canary: Canary) -> None:
        self._first = frozenset(check_filter(topic_filter) for topic_filter, _ in wanted)
        self._wanted = dict(wanted)
        self._canary = canary
        # Packets whose SUBACK is still to come, with their filters.
        self._asked: dict[int, tuple[str, ...]] = {}
        # Whether this connection was asked for what was wanted when it came: what is wanted since is asked for by itself.
        self.begun = False

    def __contains__(self, topic_filter: str) -> bool:
        return topic_filter in self._wanted

    @property
    def pending(self) -> bool:
        """Whether the broker owes an answer."""
        return bool(self._asked)

    def add(self, filters: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Want these too, from now on. Gives those that are new. Raises ``Rejected`` for what is no filter."""
        new = [(check_filter(topic_filter), qos) for topic_filter, qos in filters if topic_filter not in self._wanted]
        self._wanted.update(new)
        return new

    def remove(self, filters: Iterable[str]) -> list[str]:
        """Want these no longer. Gives those that were wanted."""
        return [topic_filter for topic_filter in filters if self._wanted.pop(topic_filter, None) is not None]

    def forget_answers(self) -> None:
        """The connection is gone, and its answers with it."""
        self._asked.clear()
        self.begun = False

    def ask_for_all(self, client: PahoClient) -> bool:
        """Subscribe to everything on a fresh connection. False when there is nothing to subscribe to."""
        self.begun = True
        wanted = list(self._wanted.items())
        if self._canary.allowed:
            wanted.append((self._canary.topic, 0))
        self.ask(client, wanted)
        return bool(wanted)

    def ask(self, client: PahoClient, wanted: Sequence[tuple[str, int]]) -> None:
        """Subscribe to these, in as many packets as it takes."""
        for part in _parts(wanted):
            if client.protocol == MQTTv5:
                _, packet = client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in part])
            else:
                _, packet = client.subscribe(list(part))
            if packet is not None:
                self._asked[packet] = tuple(topic for topic, _ in part)

    def answered(self, packet: int, reasons: Sequence[ReasonCode], who: str) -> list[str]:
        """The SUBACK of a packet. Gives the filters without which the connection is of no use and that were refused."""
        filters = self._asked.pop(packet, ())
        denied = [topic for topic, reason in zip(filters, reasons, strict=False) if int(reason.value) > _GRANTED]
        if self._canary.topic in denied:
            denied.remove(self._canary.topic)
            self._canary.deny(who)
        later = [topic for topic in denied if topic not in self._first]
        for topic in later:
            self._wanted.pop(topic, None)
        if later:
            log.warning("%s: it refused to send %s; check the user's permissions.", who, ", ".join(later))
        return [topic for topic in denied if topic in self._first]


def _parts(wanted: Sequence[tuple[str, int]]) -> Iterator[Sequence[tuple[str, int]]]:
    return (wanted[at : at + _AT_ONCE] for at in range(0, len(wanted), _AT_ONCE))
