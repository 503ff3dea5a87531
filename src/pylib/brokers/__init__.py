"""What joins the application to MQTT and RabbitMQ: addresses, topics, ports for the client libraries, and the bridge.

Errors of the client libraries are translated into :mod:`pylib.errors` in this package and nowhere else.
"""
