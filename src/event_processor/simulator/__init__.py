"""A home that does not exist: sixteen devices and the people who use them, for demos, tests and screenshots.

devices    what a device is, and how it announces itself
catalogue  the sixteen
weather    the sun and the temperature outside
days       what the people do in a day
picture    what the camera sees
home       ``Home``: all of it, as a pure generator of messages on a clock that is handed in
living     the supervised threads that publish it, and ``python -m event_processor.simulator``
"""

from __future__ import annotations

from event_processor.simulator.home import Home
from event_processor.simulator.values import Sent

__all__ = ["Home", "Sent"]
