"""The links, meters and limits of ``app.conf`` as rules, so that there is one way to decide.

A link fires on every report that says active, as it always has; a meter outside its limits on every such reading.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from event_processor.domain.events import Event
from event_processor.domain.links import Output
from event_processor.domain.policy import MeterLimits, Policy
from event_processor.domain.rules import Rule, SetOff, Trigger

__all__ = ["outputs_of_policy", "rules_of_policy"]


def rules_of_policy(policy: Policy) -> list[Rule]:
    """The rules that decide as ``[links]``, ``[type_links]`` and ``[meter:...]`` say. Their ids start with ``link-`` or
    ``meter-``, and stay the same as long as the option's name does."""
    age, links = policy.max_event_age_s, policy.links
    rules = [
        _link("device", device, Trigger(device=device, on="level"), outputs, age)
        for device, outputs in links.by_device.items()
    ]
    for pattern, outputs in links.patterns:
        device = _glob(pattern.pattern)
        rules.append(_link("device", device, Trigger(device=device, on="level"), outputs, age))
    rules += [_link("type", kind, Trigger(type=kind, on="level"), outputs, age) for kind, outputs in links.by_type.items()]
    for meter, limits in policy.meters.items():
        condition = _outside(limits)
        if not condition:
            continue
        event = Event(device=meter, kind="meter", created_at=0.0, source="mqtt", topic="")
        rules += [
            Rule(
                id=_id("meter", f"{meter}:{kind}" if kind else meter),
                name=f"[meter:{meter}]",
                trigger=(Trigger(device=meter, type=kind, on="report"),),
                condition=condition,
                max_age_s=age,
                action=tuple(SetOff(output=output.name) for output in outputs),
            )
            for kind, outputs in (("", links.outputs_of(event)), *links.by_type.items())
            if outputs
        ]
    return rules


def outputs_of_policy(policy: Policy) -> list[Output]:
    """All outputs that links name: those with a section of their own, and those written into a link."""
    links = policy.links
    targets: Iterable[tuple[Output, ...]] = (
        *links.by_device.values(), *links.by_type.values(), *(outputs for _, outputs in links.patterns)
    )  # fmt: skip
    return list({output.name.lower(): output for outputs in targets for output in outputs}.values())


def _link(kind: str, name: str, trigger: Trigger, outputs: tuple[Output, ...], age: float) -> Rule:
    section = "links" if kind == "device" else "type_links"
    return Rule(
        id=_id("link", f"{kind}:{name}"),
        name=f"[{section}] {name}",
        trigger=(trigger,),
        max_age_s=age,
        action=tuple(SetOff(output=output.name) for output in outputs),
    )


def _id(kind: str, name: str) -> str:
    """An id for any name: readable, and told apart by a digest where letters were lost."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"{kind}-{plain}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def _glob(pattern: str) -> str:
    """The pattern as it was written, from the expression that ``compile_links`` made of it."""
    return re.sub(r"\\(.)|\.\*|\.", lambda found: found[1] or ("*" if found[0] == ".*" else "?"), pattern)


def _outside(limits: MeterLimits) -> str:
    reading = "event.minute" if limits.of_minute else "event.value"
    if limits.every_reading:
        return f"{reading} < 0 or {reading} >= 0"
    parts: list[str] = []
    if limits.low is not None:
        parts.append(f"{reading} < {_number(limits.low)}")
    if limits.high is not None:
        parts.append(f"{reading} > {_number(limits.high)}")
    return " or ".join(parts)


def _number(value: float) -> str:
    return f"-{-value:.17g}" if value < 0 else f"{value:.17g}"
