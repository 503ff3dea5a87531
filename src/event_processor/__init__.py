"""The hub built on ``pylib``: it hears devices over MQTT and RabbitMQ, decides, and commands outputs.

Importing this package loads nothing else.
"""
