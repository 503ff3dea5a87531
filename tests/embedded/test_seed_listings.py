"""The post's three listings, run as programs, on the embedded brokers."""

from __future__ import annotations

from tests.embedded.adopt import adopt

globals().update(adopt("tests.seed.test_seed_listings"))
