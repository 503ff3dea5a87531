"""Takes one task at a time and acknowledges it when it is done; a task with an exclamation mark is the end of the worker."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress

from aio_pika import connect
from aio_pika.abc import AbstractIncomingMessage


async def work(message: AbstractIncomingMessage) -> None:
    async with message.process():
        task = message.body.decode()
        if "!" in task and not message.redelivered:
            print("died of", task, flush=True)
            os._exit(3)
        print("done", task)


async def main() -> None:
    connection = await connect(host="localhost", port=int(sys.argv[1]))
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        queue = await channel.declare_queue("task_queue", durable=True)
        await queue.consume(work)
        print("waiting")
        await asyncio.Future()


with suppress(KeyboardInterrupt):
    asyncio.run(main())
