"""The short way in: ``from pylib.application import Application``."""

from __future__ import annotations

from pylib.application.core import Application
from pylib.application.messages import Message
from pylib.brokers.port import Delivery
from pylib.errors import Rejected

__all__ = ["Application", "Delivery", "Message", "Rejected"]
