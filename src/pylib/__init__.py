"""A handful of supervised threads, ZeroMQ between them, MQTT and RabbitMQ at the edges.

Importing this package changes nothing and reads nothing: the names below are made on first use (PEP 562). ``import
pylib`` alone loads none of pika, paho-mqtt, pyzmq, pydantic or Sentry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylib.config import app_config as app_config
    from pylib.observe.logging import log as log

    APP_NAME: str
    DEVICE_NAME: str
    __version__: str

__all__ = ["APP_NAME", "DEVICE_NAME", "__version__", "app_config", "log"]


def __getattr__(name: str) -> object:
    """Make one of the public names. Any thread may ask; nothing is kept here, so a test that resets the owner sees it.

    :raises ConfigError: when ``APP_NAME`` or ``DEVICE_NAME`` has to be read from a settings file that is not readable.
    """
    if name == "app_config":
        from pylib.config import app_config

        return app_config
    if name == "log":
        from pylib.observe.logging import log

        return log
    if name == "APP_NAME":
        from pylib.config import app_config

        return app_config.app_name()
    if name == "DEVICE_NAME":
        from pylib.config import app_config

        return app_config.device_name()
    if name == "__version__":
        return _version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pylib-automation")
    except PackageNotFoundError:
        return "0+unknown"
