"""The broker as plain objects: exchanges, bindings, queues and messages. No sockets, no threads, and time is a parameter."""
