"""Asks for Fibonacci's numbers, one per argument."""

from __future__ import annotations

import asyncio
import sys
import uuid

from aio_pika import Message, connect
from aio_pika.abc import AbstractIncomingMessage


async def main() -> None:
    connection = await connect(host="localhost", port=int(sys.argv[1]))
    async with connection:
        channel = await connection.channel()
        replies = await channel.declare_queue(exclusive=True)
        open_questions: dict[str, asyncio.Future[int]] = {}

        async def answered(message: AbstractIncomingMessage) -> None:
            open_questions.pop(message.correlation_id or "").set_result(int(message.body))

        await replies.consume(answered, no_ack=True)
        for n in sys.argv[2:]:
            number = str(uuid.uuid4())
            answer = open_questions[number] = asyncio.get_running_loop().create_future()
            question = Message(n.encode(), correlation_id=number, reply_to=replies.name)
            await channel.default_exchange.publish(question, routing_key="rpc_queue")
            print("answer", n, await answer)


asyncio.run(main())
