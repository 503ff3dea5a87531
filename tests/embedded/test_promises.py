"""What the ports promise, on the embedded brokers: order, one answer each, nothing acknowledged before it is settled."""

from __future__ import annotations

from tests.embedded.adopt import adopt

globals().update(adopt("tests.contract.test_promises"))
