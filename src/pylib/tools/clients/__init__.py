"""Connections that a command makes for itself: one thread, in the foreground, gone when the command ends."""
