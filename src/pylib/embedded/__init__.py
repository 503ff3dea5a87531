"""Brokers inside the process: real servers on real loopback sockets, for the default run, for tests and for demos.

``pylib.embedded.amqp`` speaks AMQP 0-9-1, ``pylib.embedded.mqtt`` MQTT 3.1.1. Both need the extra ``embedded``. What they
hold is in memory: it ends with the process. They meet the rest of the library on the wire only.
"""
