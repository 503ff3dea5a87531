"""Puts tasks, one per argument, into a durable queue."""

from __future__ import annotations

import asyncio
import sys

from aio_pika import DeliveryMode, Message, connect


async def main() -> None:
    connection = await connect(host="localhost", port=int(sys.argv[1]))
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue("task_queue", durable=True)
        for task in sys.argv[2:]:
            message = Message(task.encode(), delivery_mode=DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key="task_queue")
        print("sent")


asyncio.run(main())
