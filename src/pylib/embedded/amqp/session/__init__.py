"""Connections and channels as state machines: bytes in, bytes out, no sockets."""
