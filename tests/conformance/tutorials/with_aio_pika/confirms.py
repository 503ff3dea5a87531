"""Publishes with confirms: many at once, and one that nobody takes."""

from __future__ import annotations

import asyncio
import sys

from aio_pika import Message, connect
from aio_pika.exceptions import DeliveryError


async def main() -> None:
    connection = await connect(host="localhost", port=int(sys.argv[1]))
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        queue = await channel.declare_queue(exclusive=True)
        exchange = channel.default_exchange
        await asyncio.gather(*(exchange.publish(Message(str(n).encode()), routing_key=queue.name) for n in range(100)))
        checked = await channel.declare_queue(queue.name, passive=True)
        print("confirmed", checked.declaration_result.message_count)
        try:
            await exchange.publish(Message(b"x"), routing_key="nobody-has-this-queue")
        except DeliveryError as e:
            print("returned", getattr(e.frame, "reply_text", e.frame))


asyncio.run(main())
