"""Publishes to an exchange: `logs_emit.py PORT EXCHANGE TYPE KEY TEXT`."""

from __future__ import annotations

import asyncio
import sys

from aio_pika import Message, connect


async def main() -> None:
    name, kind, key, text = sys.argv[2:]
    connection = await connect(host="localhost", port=int(sys.argv[1]))
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(name, kind)
        await exchange.publish(Message(text.encode()), routing_key=key)
        print("sent")


asyncio.run(main())
