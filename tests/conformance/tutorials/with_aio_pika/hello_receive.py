"""Prints what comes to the queue hello, until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from aio_pika import connect
from aio_pika.abc import AbstractIncomingMessage


async def received(message: AbstractIncomingMessage) -> None:
    print("received", message.body.decode())


async def main() -> None:
    connection = await connect(host="localhost", port=int(sys.argv[1]))
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("hello")
        await queue.consume(received, no_ack=True)
        print("waiting")
        await asyncio.Future()


with suppress(KeyboardInterrupt):
    asyncio.run(main())
