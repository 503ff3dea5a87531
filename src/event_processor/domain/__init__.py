"""Plain values and pure functions: no sockets, no storage and no clock reads. ``now`` is a parameter.

Values and functions may be used from any thread, since nothing is changed in place; the few objects that own something
(``engine.Engine``, ``state.HubState``, ``registry.Registry``) say that one thread owns them.
"""
