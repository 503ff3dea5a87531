"""A garden in a dozen lines: dry soil, heard over MQTT, becomes an order to the pump on RabbitMQ.

MQTT=localhost AMQP=localhost python examples/garden.py
mosquitto_pub -q 1 -t soil/tomatoes/state -m '{"moisture": 12}'
"""

import os

import msgspec

from pylib.application import Application, Message

app = Application("garden")
mqtt = app.mqtt(os.environ.get("MQTT", "localhost"))
rabbit = app.rabbitmq(os.environ.get("AMQP", "localhost"), exchange="garden")


class Reading(msgspec.Struct):
    moisture: float


@mqtt.on("soil/+/state")
def water(reading: Reading, topic: str) -> Message | None:
    order = rabbit.message("event.control.pump", {"bed": topic, "seconds": 30}, expires=3600)
    return order if reading.moisture < 20 else None


if __name__ == "__main__":
    app.run()
