"""A sign of life to somebody outside, who raises the alarm when it stays away: healthchecks.io, Cronitor, Uptime Kuma."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pylib.config import AppConfig
from pylib.errors import ConfigError
from pylib.observe.health import Health

__all__ = ["DeadMan", "Style", "dead_man", "style_of", "url_for"]

log = logging.getLogger("pylib.observe")

Style = Literal["healthchecks", "cronitor", "uptime-kuma", "plain"]
Sign = Literal["start", "success", "fail"]

#: Seconds between two signs of life, unless ``[observe] ping_every_s`` says otherwise, and the least that it may say.
EVERY_S: Final = 60.0
LEAST_EVERY_S: Final = 5.0
#: Seconds that a ping may take, and bytes of its answer that are read.
TIMEOUT: Final = 10.0
MOST_ANSWER: Final = 4096
STYLES: Final[tuple[Style, ...]] = ("healthchecks", "cronitor", "uptime-kuma", "plain")

# Parameters of theirs that we set.
_OURS: Final = ("status", "msg", "ping", "state", "message")

Get = Callable[[str], None]


def style_of(url: str) -> Style:
    """Whose address it is. Anything unknown is called as it is."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == "cronitor.link" or host.endswith((".cronitor.link", "cronitor.io")):
        return "cronitor"
    if "/api/push/" in parts.path:
        return "uptime-kuma"
    return "healthchecks" if host == "hc-ping.com" or parts.path.startswith("/ping/") else "plain"


def url_for(url: str, style: Style, sign: Sign, words: str = "") -> str | None:
    """The address to call for a sign; None where this service has no word for it.

    healthchecks.io appends ``/start`` and ``/fail`` ("Pinging API"); a heartbeat of Cronitor's is its address alone and a
    failure ``state=fail`` ("Telemetry API"); a push monitor of Uptime Kuma takes ``status`` and ``msg``.
    """
    parts = urlsplit(url)
    if style == "healthchecks":
        suffix = "" if sign == "success" else f"/{sign}"
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + suffix))
    if style == "cronitor":
        said = {"state": "fail", "message": words} if sign == "fail" else {}
        return None if sign == "start" else _with(url, said)
    if style == "uptime-kuma":
        said = {"status": "down" if sign == "fail" else "up", "msg": words or "OK"}
        return None if sign == "start" else _with(url, said)
    return url if sign == "success" else None


class DeadMan:
    """Pings while the application is well, says once that it is not, and is silent until it is again. For one thread.

    :param healthy: asked before each ping.
    :param url: a secret: it is in no log line and no ``repr``.
    :param when: ``ready``: only while it does its work; ``live``: also while, say, a broker is away.
    :param get: calls an address; raises ``OSError`` where that fails.
    """

    def __init__(
        self, healthy: Callable[[], Health], url: str, *, style: Style | None = None, when: Literal["ready", "live"] = "ready",
        get: Get | None = None,
    ) -> None:  # fmt: skip
        self._healthy = healthy
        self._url = url
        self._style: Style = style or style_of(url)
        self._when = when
        self._get = get or _get
        self._started = self._said = False
        self._failing = ""

    def __call__(self) -> None:
        """One look, and what it calls for. Blocks for as long as one request takes."""
        health = self._healthy()
        well = health.live and (health.ready or self._when == "live")
        if not self._started:
            self._started = self._send("start", "")
        if well:
            self._said = not self._send("success", "") and self._said
        elif not self._said:  # once: from then on its silence speaks
            words = "; ".join(f"{problem.part}: {problem.what}" for problem in health.problems)[:200]
            self._said = self._send("fail", words)

    def _send(self, sign: Sign, words: str) -> bool:
        url = url_for(self._url, self._style, sign, words)
        if url is None:
            return True
        try:
            self._get(url)
        except (OSError, ValueError) as error:
            # Neither the address nor what an error says of it: it is all that lets anybody in.
            code = getattr(error, "code", None)  # of an HTTPError
            why = f"it answered {code}" if code is not None else type(error).__name__
            if why != self._failing:
                self._failing = why
                log.warning("The dead-man ping ([observe] ping_url) did not get through: %s.", why)
            return False
        if self._failing:
            self._failing = ""
            log.info("The dead-man ping gets through again.")
        return True


def dead_man(config: AppConfig, healthy: Callable[[], Health]) -> tuple[DeadMan, float] | None:
    """The ping that the settings ask for and the seconds between two; None where they ask for none.

    ``[observe] ping_url`` (or its variable, or a secret file), ``ping_every_s``, ``ping_when`` (``ready`` or ``live``),
    ``ping_style``. Raises ``ConfigError`` for what cannot be used, without repeating the address.
    """
    url = config.get("observe", "ping_url", fallback="").strip()
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{config.place('observe', 'ping_url')} has to be an address that starts with https:// or http://.")
    every = config.getfloat("observe", "ping_every_s", fallback=EVERY_S)
    if every < LEAST_EVERY_S:
        raise ConfigError(f"{config.place('observe', 'ping_every_s')} has to be {LEAST_EVERY_S:g} seconds or more.")
    when = config.get("observe", "ping_when", fallback="ready")
    if when not in ("ready", "live"):
        raise ConfigError(f'{config.place("observe", "ping_when")} is "{when}"; it has to be ready or live.')
    style = config.get("observe", "ping_style", fallback="")
    found = next((each for each in STYLES if each == style), None)
    if style and found is None:
        raise ConfigError(f'{config.place("observe", "ping_style")} is "{style}"; it has to be one of {", ".join(STYLES)}.')
    return DeadMan(healthy, url, style=found, when="live" if when == "live" else "ready"), every


def _with(url: str, said: dict[str, str]) -> str:
    """The address with these parameters in place of its own of the same names."""
    parts = urlsplit(url)
    kept = [
        (name, value) for name, value in parse_qsl(parts.query) if name not in ("status", "msg", "ping", "state", "message")
    ]
    return urlunsplit(parts._replace(query=urlencode([*kept, *said.items()])))


def _get(url: str) -> None:
    import urllib.request  # for those who have something to call

    request = urllib.request.Request(url, headers={"User-Agent": "pylib"})  # http and https only, see dead_man
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        answer.read(MOST_ANSWER)
