"""``pylib.application`` on the embedded brokers: failures, dead letters, order, duplicates, stops."""

from __future__ import annotations

from tests.embedded.adopt import adopt

globals().update(adopt("tests.system.test_application"))
