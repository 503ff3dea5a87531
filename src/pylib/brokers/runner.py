"""Running a bridge: the loop, the bridge on it, and the member's place in the stop."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence

from pylib.brokers.bridge import Bridge
from pylib.runtime.loop import READ, Loop
from pylib.runtime.member import Member, Role
from pylib.runtime.runtime import Runtime
from pylib.runtime.sockets import Socket
from pylib.runtime.wiring import Link

__all__ = ["BridgeRunner"]

MakeBridge = Callable[[Loop], Bridge]


class BridgeRunner:
    """Makes a supervised thread the owner of a bridge. ``attach`` before the thread starts, ``run`` as its work.

    Any thread may call ``finish`` and ``stop_consuming``: they post to the loop.
    """

    def __init__(self, runtime: Runtime, make: MakeBridge, sockets: Sequence[Socket] = ()) -> None:
        self._runtime = runtime
        self._make = make
        self._sockets = list(sockets)
        self._member: Member | None = None
        self._loop: Loop | None = None
        self._bridge: Bridge | None = None
        self._waiting: deque[Callable[[], None]] = deque()

    def attach(self, member: Member) -> None:
        """Give the member its place: bridges stop consuming first and close last."""
        self._member = member
        member.role = Role.BRIDGE
        member.stop_consuming = self.stop_consuming
        member.finish = self.finish
        member.link = self.link

    def run(self) -> None:
        """Serve until finished. On the thread that owns the bridge from here on."""
        member = self._member
        if member is None:
            raise RuntimeError("attach() the runner to a member first")
        self._runtime.sockets.adopt(self._sockets, member)
        loop = Loop(member, self._runtime.clock)
        member.loop = loop
        try:
            bridge = self._make(loop)
            self._bridge, self._loop = bridge, loop
            gate = member.gate.fileno()

            def ending(mask: int) -> None:
                loop.unwatch(gate)  # it stays readable
                bridge.finish(self._runtime.stop_budget)

            loop.watch(gate, READ, ending)
            bridge.open()
            loop.post(self._catch_up)
            try:
                loop.run()
            except BaseException:
                bridge.abandon()
                with contextlib.suppress(Exception):  # the first reason is the one to hear about
                    loop.run()
                raise
        finally:
            self._loop = self._bridge = None
            member.loop = None
            loop.close()

    def link(self) -> Link | None:
        """The connection as it is now, or None while the thread does not run. Any thread."""
        bridge = self._bridge
        return bridge.link() if bridge is not None else None

    def post(self, call: Callable[[], None]) -> None:
        """Have the bridge's thread make a call: soon, or as soon as it has started; in the order of the posts."""
        self._waiting.append(call)
        loop = self._loop
        if loop is not None:
            loop.post(self._catch_up)

    def _catch_up(self) -> None:
        while self._waiting:
            self._waiting.popleft()()

    def stop_consuming(self) -> None:
        """Stage one of the stop."""
        loop, bridge = self._loop, self._bridge
        if loop is not None and bridge is not None:
            bridge.stop_asked()
            loop.post(bridge.stop_consuming)

    def finish(self, seconds: float) -> None:
        """Its turn to end."""
        loop, bridge = self._loop, self._bridge
        if loop is not None and bridge is not None:
            bridge.stop_asked()
            loop.post(lambda: bridge.finish(seconds))
