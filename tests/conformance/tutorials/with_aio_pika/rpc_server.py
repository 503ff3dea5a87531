"""Answers with Fibonacci's numbers."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from aio_pika import Message, connect


def fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


async def main() -> None:
    connection = await connect(host="localhost", port=int(sys.argv[1]))
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("rpc_queue")
        print("waiting")
        async with queue.iterator() as questions:
            async for question in questions:
                async with question.process(requeue=False):
                    answer = Message(str(fibonacci(int(question.body))).encode(), correlation_id=question.correlation_id)
                    await channel.default_exchange.publish(answer, routing_key=question.reply_to or "")


with suppress(KeyboardInterrupt):
    asyncio.run(main())
