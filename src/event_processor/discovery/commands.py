"""Making the MQTT message that tells an entity to do something."""

from __future__ import annotations

from typing import NamedTuple

from event_processor.discovery.payload import as_text
from event_processor.discovery.templates import Templates
from event_processor.domain.entities import CommandForm
from event_processor.domain.fields import Scalar
from pylib.errors import DecodeError

__all__ = ["Command", "command"]


class Command(NamedTuple):
    """A message to publish."""

    topic: str
    payload: str
    qos: int
    retain: bool


def command(form: CommandForm, asked: Scalar, templates: Templates, now: float) -> Command:
    """Return what to publish for ``asked``: a word such as "on" or "open", or a value.

    Raises ``DecodeError``, whose message names what is allowed, where the entity cannot do that.
    """
    word = asked if isinstance(asked, str) else None
    if isinstance(asked, bool):
        word = "on" if asked else "off"
    raw: Scalar
    if word is not None and word in form.payloads:
        raw = form.payloads[word]
    elif form.payloads and not form.options and form.limits is None:
        raise DecodeError(f"expected one of {', '.join(form.payloads)}")
    elif form.options and as_text(asked) not in form.options:
        raise DecodeError(f"expected one of {', '.join(form.options)}")
    elif form.limits is not None:
        if isinstance(asked, bool) or not isinstance(asked, (int, float)) or not form.limits[0] <= asked <= form.limits[1]:
            raise DecodeError(f"expected a number from {form.limits[0]:g} to {form.limits[1]:g}")
        raw = asked
    else:
        raw = asked
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if "{{" in form.template or "{%" in form.template:
        payload = templates.command(form.template, {"value": raw}, now)
    elif form.template:
        payload = form.template.replace("{value}", _inside(raw, form.template))
    else:
        payload = as_text(raw)
    return Command(form.topic, payload, form.qos, form.retain)


def _inside(value: Scalar, template: str) -> str:
    """Write a value into a template. In JSON it must not end the text that it stands in."""
    text = str(value).lower() if isinstance(value, bool) else as_text(value)
    if template.lstrip().startswith("{") and '"{value}"' in template:
        return text.replace("\\", "\\\\").replace('"', '\\"')
    return text
