"""Trying what an application does on MQTT: to log in, to subscribe and hear itself, to publish, to be remembered."""

from __future__ import annotations

import json
import time
from typing import Final

from pylib.brokers.addresses import Address
from pylib.brokers.identity import new_id
from pylib.brokers.mqtt_reasons import UNSUPPORTED_VERSION
from pylib.data import decode, unwrap_payload
from pylib.errors import DependencyError, PylibError
from pylib.tools.clients.mqtt import V5, V311, MqttClient
from pylib.tools.doctor.findings import Report
from pylib.tools.doctor.plan import Mqtt
from pylib.tools.doctor.reach import about

__all__ = ["canary_topic", "try_mqtt"]

#: Seconds that a message of our own may take to come back, and that the broker's own topics are waited for.
BACK_S: Final = 1.5
SYS_S: Final = 0.3
#: Seconds that a sender's clock may be ahead of ours, and bytes of the largest picture that should fit.
AHEAD_S: Final = 60.0
USUAL_PACKET: Final = 256 * 1024
#: What an application asks for: seconds that its session is kept.
SESSION_S: Final = 7 * 24 * 3600
_FAILURE: Final = 0x80
_CREDENTIALS: Final = frozenset((4, 5, 0x86, 0x87))
_ACL: Final = "Allow it in the broker's ACL: in Mosquitto's acl_file `user {user}` and `topic {verb} {topic}`."
_SYS: Final = ("$SYS/broker/version", "$SYS/broker/uptime")


def try_mqtt(plan: Mqtt, address: Address, report: Report, *, canary: bool) -> None:
    """Everything that can be known of one broker by talking to it. Blocks for some seconds; reports, and does not raise."""
    who = about(address)
    client = _log_in(plan, address, who, report)
    if client is None:
        return
    with client:
        try:
            _capabilities(client, plan, who, report)
            _version(client, who, report)
            for topic in plan.subscribe:
                _listen(client, plan, topic, who, report, canary=canary)
            for topic in plan.publish if canary else ():
                _publish(client, topic, who, report)
            _clocks(client, who, report)
        except PylibError as error:
            report.error("MQTT-REFUSED", who, f"it ended the connection while it was tried: {error}", "See the broker's log.")


def canary_topic(topic_filter: str) -> str | None:
    """A topic that the filter matches and no device uses; None for a filter without a wildcard."""
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[-1]
    if "+" not in topic_filter and not topic_filter.endswith("#"):
        return None
    mark = f"pylib-doctor-{new_id()}"
    return "/".join(mark if level in ("+", "#") else level for level in topic_filter.split("/"))


def _log_in(plan: Mqtt, address: Address, who: str, report: Report) -> MqttClient | None:
    for protocol in (V5, V311):
        client = MqttClient(address, plan.tls, protocol=protocol)
        try:
            client.connect()
        except DependencyError as error:
            client.close()
            code = int(client.refused.value) if client.refused is not None else -1
            if protocol == V5 and code in (-1, 1, UNSUPPORTED_VERSION):
                continue
            _refused(code, str(error), address, who, report)
            return None
        if protocol == V311:
            report.warning(
                "MQTT-OLD",
                who,
                "it speaks MQTT 3.1.1 and no MQTT 5: refusals are silent, and content types, "
                "headers and expiry have no place.",
                "Use Mosquitto 1.6 or newer, or RabbitMQ 3.13 or newer, if you need those.",
            )
        report.ok(
            who,
            f"{'MQTT 5' if protocol == V5 else 'MQTT 3.1.1'}, "
            + (f"logged in as {address.user!r}" if address.user else "lets everybody in"),
        )
        return client
    return None


def _refused(code: int, text: str, address: Address, who: str, report: Report) -> None:
    if code in _CREDENTIALS and address.user is None:
        report.error(
            "MQTT-ANONYMOUS",
            who,
            "it wants a user and a password, and the address has none.",
            f"Write mqtt://user:password@{address.host}:{address.port} as server_address, or put the address into a "
            "secret file.",
        )
    elif code in _CREDENTIALS:
        report.error(
            "MQTT-CREDENTIALS",
            who,
            f"user {address.user!r} or its password was refused.",
            "Compare both with the broker's password_file (mosquitto_passwd FILE USER sets one; the broker reads the "
            "file again on SIGHUP).",
        )
    else:
        report.error("MQTT-REFUSED", who, text, "See the broker's log for the reason.")


def _capabilities(client: MqttClient, plan: Mqtt, who: str, report: Report) -> None:
    """What the CONNACK of MQTT 5 (section 3.2.2.3) says that the broker does not do."""
    properties = client.properties
    if client.protocol != V5 or properties is None:
        return
    most = getattr(properties, "MaximumQoS", 2)
    if most < plan.qos:
        report.warning(
            "MQTT-QOS-LOWER",
            who,
            f"it allows QoS {most} at most, and QoS {plan.qos} is asked for.",
            "Raise the broker's limit (Mosquitto: max_qos 2), or ask for less.",
        )
    if not getattr(properties, "RetainAvailable", 1):
        report.warning(
            "MQTT-NO-RETAIN",
            who,
            "it keeps no retained messages: who comes later does not learn the last state.",
            "Switch them on (Mosquitto: retain_available true).",
        )
    if not getattr(properties, "SharedSubscriptionAvailable", 1) and any(t.startswith("$share/") for t in plan.subscribe):
        report.error(
            "MQTT-NO-SHARED", who, "it has no shared subscriptions.", "Subscribe without $share/, or use another broker."
        )
    packet = getattr(properties, "MaximumPacketSize", None)
    if packet is not None and packet < USUAL_PACKET:
        report.note(
            "MQTT-SMALL-PACKETS",
            who,
            f"it takes no message of more than {packet} bytes, and disconnects who sends one.",
            "Raise the limit (Mosquitto: max_packet_size), if pictures are to be sent.",
        )


def _version(client: MqttClient, who: str, report: Report) -> None:
    if client.subscribe([(topic, 0) for topic in _SYS])[0].is_failure:
        return
    client.pump(SYS_S, lambda: client.received >= len(_SYS))
    found = {message.topic: message.payload.decode(errors="replace") for message in client.messages}
    client.messages.clear()
    version = found.get("$SYS/broker/version", "")
    if version:
        report.ok(who, version)
    number = version.lower().removeprefix("mosquitto version ").split(".")[0]
    if "mosquitto" in version.lower() and number.isdecimal() and int(number) < 2:
        report.warning("MQTT-VERSION-OLD", who, f"{version} is out of support.", "Upgrade to Mosquitto 2.")


def _listen(client: MqttClient, plan: Mqtt, topic: str, who: str, report: Report, *, canary: bool) -> None:
    try:
        granted = client.subscribe([(topic, plan.qos)])[0]
    except ValueError:
        return  # malformed, and reported as such
    user = client.address.user or "anonymous"
    if granted.is_failure:
        report.error(
            "MQTT-SUBSCRIBE-DENIED",
            who,
            f"the subscription to {topic!r} was refused ({granted}).",
            _ACL.format(user=user, verb="read", topic=topic),
        )
        return
    level = int(granted.value)
    if level < plan.qos:
        report.warning(
            "MQTT-QOS-LOWER",
            who,
            f"{topic!r} is granted with QoS {level}, and QoS {plan.qos} is asked for.",
            "RabbitMQ's MQTT plugin knows QoS 0 and 1 only; Mosquitto: max_qos. With QoS 1 a message may come twice, "
            "with QoS 0 not at all.",
        )
    target = canary_topic(topic) if canary else None
    if target is None:
        report.ok(who, f"{topic!r} may be subscribed to")
        return
    code = client.publish(target, _canary(), 1)
    if code >= _FAILURE:
        report.note(
            "MQTT-CANARY-DENIED",
            who,
            f"whether anything comes of {topic!r} could not be tried: we may not publish there.",
            "Fine where others publish. Watch it with: pylib tap mqtt " + repr(topic),
        )
    elif client.pump(BACK_S, lambda: any(message.topic == target for message in client.messages)):
        report.ok(who, f"{topic!r} may be subscribed to, and delivers")
    elif client.protocol == V5:
        report.error(
            "MQTT-READ-DENIED",
            who,
            f"the subscription to {topic!r} is granted, and a message to {target!r} was accepted, "
            "and it is not delivered: we may not read there.",
            _ACL.format(user=user, verb="read", topic=topic),
        )
    else:
        report.warning(
            "MQTT-CANARY-LOST",
            who,
            f"a message of our own to {target!r} did not come back: we may not write there, or "
            "not read. MQTT 3.1.1 does not say which.",
            _ACL.format(user=user, verb="readwrite", topic=topic),
        )


def _publish(client: MqttClient, topic: str, who: str, report: Report) -> None:
    target = canary_topic(topic)
    if target is None or client.protocol != V5:
        return  # without a wildcard a message would set something off; without MQTT 5 a refusal is silent
    code = client.publish(target, _canary(), 1)
    if code >= _FAILURE:
        report.error(
            "MQTT-PUBLISH-DENIED",
            who,
            f"publishing to {topic!r} was refused (reason code 0x{code:02X}).",
            _ACL.format(user=client.address.user or "anonymous", verb="write", topic=topic),
        )
    else:
        report.ok(who, f"{topic!r} may be published to")


def _canary() -> bytes:
    return json.dumps({"pylib-doctor": "a test message, to be ignored"}).encode()


def _clocks(client: MqttClient, who: str, report: Report) -> None:
    """What has passed meanwhile may say when it was sent: a moment that is to come shows a wrong clock, here or there."""
    now = time.time()
    for message in client.messages:
        try:
            _, at = unwrap_payload(decode(bytes(message.payload), "application/json"))
        except (PylibError, ValueError, TypeError):
            continue
        sent = at.timestamp() if at is not None else now
        if sent > now + AHEAD_S:
            report.warning(
                "CLOCK-OTHERS",
                who,
                f"a message to {message.topic!r} says that it was sent {sent - now:.0f} s from now.",
                "Set the sender's clock, or this machine's: timedatectl set-ntp true.",
            )
