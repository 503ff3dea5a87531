"""Bytes: frames, methods, field tables and properties of AMQP 0-9-1, decoded within bounds."""
