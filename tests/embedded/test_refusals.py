"""A queue that is full and answers with basic.nack, on the embedded AMQP broker."""

from __future__ import annotations

from tests.embedded.adopt import adopt

globals().update(adopt("tests.system.test_delivery_refusals"))
