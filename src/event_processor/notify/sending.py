"""Sending through Apprise. It blocks for as long as the service likes, so every attempt has a thread of its own.

The threads are plain daemons: nothing waits for them, neither a stop nor the end of the process. Apprise's own ``notify`` is
not used, since its pool of threads would be waited for at exit; the service's plug-in is called instead.
"""

from __future__ import annotations

import email.utils
import json
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from event_processor.notify.masking import LogGuard, Mask
from event_processor.notify.notes import Message
from event_processor.notify.targets import Target
from pylib.errors import DependencyError

if TYPE_CHECKING:
    from requests import Response

__all__ = ["Answer", "AppriseCourier", "Courier"]

MOST_RETRY_AFTER: Final = 6 * 3600.0
"""Seconds; a service that asks for a longer pause is asked again then."""

_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503


class Answer(msgspec.Struct, frozen=True):
    """What came of an attempt. ``limited``: the service said that it was too much, which is no failure of the message;
    ``retry_after`` is the pause in seconds that it asked for. ``reason`` has no secret in it."""

    ok: bool
    reason: str = ""
    limited: bool = False
    retry_after: float | None = None


class Courier(Protocol):
    """Promises: ``send`` returns at once, and ``done`` is called once, on any thread, however long it takes."""

    def start(self) -> None:
        """Called on the notifier's thread, before the first message."""

    def send(self, target: Target, message: Message, done: Callable[[Answer], None]) -> None:
        """Try once."""

    def stop(self) -> None:
        """Called on the notifier's thread, after the last message. Attempts that are under way are left to themselves."""


class AppriseCourier:
    """Sends through Apprise, which is imported by the first thread that sends."""

    def __init__(self, targets: tuple[Target, ...]) -> None:
        self._mask = Mask(target.url.get_secret_value() for target in targets)
        self._guard = LogGuard(self._mask)

    def start(self) -> None:
        self._guard.install()

    def stop(self) -> None:
        self._guard.remove()

    def send(self, target: Target, message: Message, done: Callable[[Answer], None]) -> None:
        """Try once, on a new daemon thread."""
        threading.Thread(
            target=lambda: done(self._attempt(target, message)), name=f"notify-{target.name}", daemon=True
        ).start()

    def _attempt(self, target: Target, message: Message) -> Answer:
        self._guard.listen()
        heard: list[Response] = []
        _HEARD.set(heard)  # this thread's own: it ends with the attempt
        try:
            ok = _deliver(target, message)
            reason = self._guard.said()
        except Exception as error:
            self._guard.said()
            ok, reason = False, self._mask(f"{type(error).__name__}: {error}")
        if ok:
            return Answer(True)
        last = heard[-1] if heard else None
        if not reason:
            reason = "the service did not take it" if last is None else f"the service answered {last.status_code}"
        limited = last is not None and last.status_code == _TOO_MANY
        pause = _pause(last) if last is not None and last.status_code in (_TOO_MANY, _UNAVAILABLE) else None
        return Answer(False, reason, limited, pause)


# What the services answer, as seen by the attempt of the same thread. Apprise itself tells only whether it worked.
_HEARD: ContextVar[list[Response] | None] = ContextVar("event_processor_notify_heard", default=None)


def _deliver(target: Target, message: Message) -> bool:
    try:
        from apprise import Apprise, AppriseAsset, AppriseAttachment
        from apprise.attachment.memory import AttachMemory
    except ImportError:
        raise DependencyError("Notifications need Apprise: pip install 'pylib-automation[hub]'") from None
    _listen_to_answers()
    asset = AppriseAsset(app_id="event-processor", app_desc="home automation hub", secure_logging=True, async_mode=False)
    service = Apprise.instantiate(target.url.get_secret_value(), asset=asset, suppress_exceptions=True)
    if service is None:
        raise ValueError("Apprise does not understand this URL: look at the service's page in Apprise's documentation")
    # One attempt paces nothing by itself: the rate is ours, and a sleep in there would only use up the deadline.
    service.request_rate_per_sec = 0
    attachments = None
    if message.pictures and service.attachment_support:
        attachments = AppriseAttachment(asset=asset)
        for picture in message.pictures:
            # Apprise leaves it untyped.
            memory = AttachMemory(content=picture.data, name=picture.name, mimetype=picture.type)  # type: ignore[no-untyped-call]
            attachments.add(memory)
    return bool(service.notify(body=message.text or message.title, title=message.title, attach=attachments))


def _listen_to_answers() -> None:
    """Have each HTTP answer noted for the attempt that asked. Done once; what other code asks for passes through untouched.

    The one way to learn of "429, Retry-After" without a copy of every plug-in: they all go through this method.
    """
    import requests

    original = requests.Session.send
    if getattr(original, "_notes_answers", False):
        return

    def send(self: requests.Session, request: requests.PreparedRequest, **named: object) -> Response:
        response = original(self, request, **named)
        heard = _HEARD.get()
        if heard is not None:
            heard.append(response)
        return response

    send._notes_answers = True  # type: ignore[attr-defined]  # a mark on a function
    requests.Session.send = send  # type: ignore[method-assign]  # on purpose: see above


def _pause(response: Response) -> float | None:
    """The pause in seconds that an answer asks for: its header (RFC 9110 section 10.2.3), or what Telegram, Discord and Matrix
    write into the body."""
    header = response.headers.get("Retry-After")
    if header is not None:
        try:
            return _bounded(float(header))
        except ValueError:
            pass
        when, sent = email.utils.parsedate_tz(header), email.utils.parsedate_tz(response.headers.get("Date") or "")
        if when is not None and sent is not None:
            return _bounded(email.utils.mktime_tz(when) - email.utils.mktime_tz(sent))
    try:
        body = json.loads(response.content[:4096])
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    within = body.get("parameters")
    for place, name, unit in ((within, "retry_after", 1.0), (body, "retry_after", 1.0), (body, "retry_after_ms", 0.001)):
        value = place.get(name) if isinstance(place, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _bounded(value * unit)
    return None


def _bounded(seconds: float) -> float | None:
    return min(max(0.0, seconds), MOST_RETRY_AFTER) if seconds == seconds else None
