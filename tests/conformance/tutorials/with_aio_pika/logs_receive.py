"""Binds a queue of its own to an exchange and prints what comes: `logs_receive.py PORT EXCHANGE TYPE KEY...`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from aio_pika import connect


async def main() -> None:
    name, kind, *keys = sys.argv[2:]
    connection = await connect(host="localhost", port=int(sys.argv[1]))
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        exchange = await channel.declare_exchange(name, kind)
        queue = await channel.declare_queue(exclusive=True)
        for key in keys:
            await queue.bind(exchange, routing_key=key)
        print("waiting")
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    print("received", message.routing_key or "-", message.body.decode())


with suppress(KeyboardInterrupt):
    asyncio.run(main())
