"""The floor everything stands on: one object that owns the context, the sockets, the threads and the reason to stop."""
