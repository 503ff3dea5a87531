"""Sends one greeting to the queue hello."""

from __future__ import annotations

import asyncio
import sys

from aio_pika import Message, connect


async def main() -> None:
    connection = await connect(host="localhost", port=int(sys.argv[1]))
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("hello")
        await channel.default_exchange.publish(Message(b"Hello World!"), routing_key=queue.name)
        print("sent")


asyncio.run(main())
