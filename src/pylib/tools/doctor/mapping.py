"""Topics and binding keys of the settings: what is malformed, and what does not mean on the other broker what it seems to."""

from __future__ import annotations

from pylib.brokers.topics import check_filter, check_routing_key, filter_to_binding
from pylib.errors import Rejected
from pylib.tools.doctor.findings import Report
from pylib.tools.doctor.plan import Plan

__all__ = ["judge_topics"]


def judge_topics(plan: Plan, report: Report) -> None:
    """Look at every filter and key of the plan. No broker is asked."""
    for topic in (*plan.mqtt.subscribe, *plan.mqtt.publish) if plan.mqtt is not None else ():
        _filter(topic, plan.rabbit is not None, report)
    for key in plan.rabbit.keys if plan.rabbit is not None else ():
        _key(key, report)


def _filter(topic: str, both: bool, report: Report) -> None:
    about = "[mqtt] subscribe"
    try:
        check_filter(topic)
    except Rejected as error:
        report.error(
            "TOPIC-INVALID", about, str(error), "Correct the filter: + stands for one level, # for the rest, at the end."
        )
        return
    if topic.startswith(("+", "#")):
        report.note(
            "TOPIC-DOLLAR",
            about,
            f"{topic!r} does not match topics that start with $, such as $SYS/#.",
            "Subscribe to those by name where they are wanted (MQTT 5 section 4.7.2).",
        )
    if not both or topic.startswith("$share/"):
        return
    try:
        key = filter_to_binding(topic)
    except Rejected as error:
        report.warning("TOPIC-INVALID", about, f"{topic!r} has no binding key on RabbitMQ: {error}", "Use shorter topics.")
        return
    if "." in topic:
        report.note(
            "TOPIC-DOTS",
            about,
            f"a dot in a topic is no separator: on RabbitMQ {topic!r} becomes {key!r}.",
            "Bind queues by that key, or use / in the topic instead of the dot.",
        )


def _key(key: str, report: Report) -> None:
    about = "[rabbitmq] topic_filter"
    try:
        check_routing_key(key)
    except Rejected as error:
        report.error("TOPIC-INVALID", about, str(error), "Correct the binding key.")
        return
    for word in key.split("."):
        if word not in ("*", "#") and ("*" in word or "#" in word):
            report.warning(
                "KEY-WILDCARD",
                about,
                f"in {key!r} the wildcard in {word!r} is taken literally: it is not a whole word.",
                "Words are separated by dots; * stands for one word, # for any number of them.",
            )
            return
    if "/" in key or "+" in key:
        report.warning(
            "KEY-WILDCARD",
            about,
            f"{key!r} looks like an MQTT topic filter: / and + mean nothing in a binding key.",
            f"Write {key.replace('/', '.').replace('+', '*')!r}.",
        )
