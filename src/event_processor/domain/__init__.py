"""Plain values and pure functions: no sockets, no storage, no logging and no clock reads. ``now`` is a parameter.

Everything here may be called from any thread, since nothing here is shared or changed in place.
"""
