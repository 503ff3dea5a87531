"""One key's messages in order while its handler fails on some of them, on the embedded brokers."""

from __future__ import annotations

from tests.embedded.adopt import adopt

globals().update(adopt("tests.system.test_application_order"))
