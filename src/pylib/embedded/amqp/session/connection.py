"""A connection: from the protocol header to the last close-ok. Bytes in, bytes out; somebody else owns the socket."""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pamqp import base, commands

from pylib.embedded.amqp.session import handshake
from pylib.embedded.amqp.session.channel import Channel
from pylib.embedded.amqp.session.throttle import Throttle
from pylib.embedded.amqp.wire.errors import AmqpError, Malformed, fail, reply_text
from pylib.embedded.amqp.wire.framing import FRAME_MIN, Framer, RawFrame, snippet
from pylib.embedded.amqp.wire.methods import decode_method, encode_method, method_id

if TYPE_CHECKING:
    from pylib.embedded.amqp.broker.agenda import Appointment
    from pylib.embedded.amqp.broker.core import Core
    from pylib.embedded.amqp.broker.vhost import VirtualHost

__all__ = ["Connection", "State"]

log = logging.getLogger("pylib.embedded.amqp")

#: Seconds that a client may take to answer connection.close.
CLOSE_OK_SECONDS = 5.0

_HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"


class State(enum.Enum):
    """How far a connection has come. The names are RabbitMQ's: its error texts show them."""

    HEADER = "handshake"
    STARTING = "starting"
    TUNING = "tuning"
    OPENING = "opening"
    RUNNING = "running"
    CLOSING = "closed"  # connection.close was sent, close-ok is awaited
    GONE = "gone"


class Connection:
    """One client.

    has_output  called when there is something to send and there was nothing before
    hold        called with True when nothing is to be read any more (memory), with False when it is again

    What is to be sent is taken by ``take_output``; after it, ``gone`` says whether the socket is to be closed.
    """

    def __init__(
        self, core: Core, *, has_output: Callable[[Connection], None], hold: Callable[[bool], None], over_limit: bool = False
    ) -> None:
        self.core = core
        self.over_limit = over_limit
        self.state = State.HEADER
        self.user = ""
        self.vhost: VirtualHost | None = None
        self.capabilities: set[str] = set()
        self.channel_max = core.limits.channels
        self.frame_max = FRAME_MIN
        self.heartbeat = handshake.HEARTBEAT
        self.channels: dict[int, Channel] = {}
        self.paused = False  # the socket takes no more for now
        self.reason = ""  # why it ended, for the log
        self._framer = Framer(core.limits.frame)
        self._frames: deque[RawFrame] = deque()
        self._lost: AmqpError | None = None
        self._head = b""
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._starved = False
        self._confirming: dict[int, Channel] = {}
        self._has_output = has_output
        self.throttle = Throttle(self, hold)
        self._last_read = self._last_write = core.agenda.now()
        self._appointments: list[Appointment] = []
        self._later(core.limits.login, self._login_is_over)

    @property
    def is_running(self) -> bool:
        """Whether it is open, from the virtual host to the first word of its end."""
        return self.state is State.RUNNING

    @property
    def gone(self) -> bool:
        """Whether the socket is to be closed once the output is sent."""
        return self.state is State.GONE

    # -- in ----------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes from the client. Never raises for anything that a client may send."""
        self._last_read = self.core.agenda.now()
        if self.state is State.HEADER:
            data = self._receive_header(data)
            if not data:
                return
        frames, self._lost = self._framer.feed(data)
        self._frames.extend(frames)
        self.proceed()

    def behind(self) -> bool:
        """Whether frames wait because the client does not read its answers: nothing more is to be read from it meanwhile."""
        return bool(self._frames)

    def proceed(self) -> None:
        """Deal with the frames that have come, as far as there is room for the answers."""
        frames = self._frames
        while frames and not self.throttle.blocked and self._out_bytes <= self.core.limits.unsent:
            if self.state is State.GONE:
                frames.clear()
                return
            self._deal_with(*frames.popleft())
        if self._lost is not None and not frames and self.state is not State.GONE:
            lost = self._lost
            self._fail(lost, 0)
            self.drop(lost.text)  # whatever comes cannot be read any more, not even a close-ok
        for confirming in list(self._confirming.values()):
            confirming.publisher.send_confirms()
        self._confirming.clear()

    def _deal_with(self, kind: int, channel: int, payload: bytes) -> None:
        self.throttle.dealing = True
        try:
            self._on_frame(kind, channel, payload)
        except AmqpError as error:
            self._fail(error, channel)
        except Malformed as error:
            self._fail(AmqpError(502, str(error), method=_method_in(kind, payload)), channel)
        except Exception:
            # A defect of ours must not cost the other clients their broker.
            log.exception("AMQP: a frame of type %d on channel %d could not be handled.", kind, channel)
            self._fail(AmqpError(541, "the server could not handle this frame", method=(0, 0)), channel)
        finally:
            self.throttle.dealing = False

    def _receive_header(self, data: bytes) -> bytes:
        missing = 8 - len(self._head)
        self._head += data[:missing]
        if not handshake.may_become_header(self._head):
            self.write(handshake.PROTOCOL_HEADER)  # section 4.2.2 of AMQP 0-9-1: say what is spoken here, and close
            self.drop("the client speaks another protocol")
            return b""
        if len(self._head) < 8:
            return b""
        self.state = State.STARTING
        handshake.start(self)
        return data[missing:]

    def _on_frame(self, kind: int, number: int, payload: bytes) -> None:
        if number == 0:
            self._on_channel_0(kind, payload)
        elif self.state is State.RUNNING:
            if kind == 8:
                raise AmqpError(505, f"type 8, {snippet(payload)}", method=(0, 0))
            if kind not in (1, 2, 3):
                raise AmqpError(501, f"type {kind}, {snippet(payload)}: unknown_frame", method=(0, 0))
            channel = self.channels.get(number)
            if channel is None:
                channel = self._new_channel(number)
            channel.receive(kind, payload)
        elif self.state is not State.CLOSING:
            raise AmqpError(505, f"type {kind}, {snippet(payload)}", method=(0, 0))

    def _new_channel(self, number: int) -> Channel:
        if len(self.channels) >= self.channel_max:
            text = (
                f"number of channels opened ({len(self.channels)}) has reached the negotiated channel_max ({self.channel_max})"
            )
            raise AmqpError(530, text, method=(0, 0))
        if self.vhost is None:
            fail(504, "no virtual host was opened")
        channel = self.channels[number] = Channel(self, number, self.vhost)
        return channel

    def _on_channel_0(self, kind: int, payload: bytes) -> None:
        if kind == 8 and not payload:
            return
        if kind != 1:
            if self.state is State.CLOSING:
                return
            unknown = "" if kind in (2, 3) else ": unknown_frame"
            raise AmqpError(501 if unknown else 505, f"type {kind}, {snippet(payload)}{unknown}", method=(0, 0))
        method = decode_method(payload)
        self._on_method(method)

    def _on_method(self, method: base.Frame) -> None:
        state = self.state
        if isinstance(method, commands.Connection.StartOk) and state is State.STARTING:
            handshake.start_ok(self, method)
            self.state = State.TUNING
        elif isinstance(method, commands.Connection.TuneOk) and state is State.TUNING:
            handshake.tune_ok(self, method)
            self.state = State.OPENING
            self._start_heartbeats()
        elif isinstance(method, commands.Connection.Open) and state is State.OPENING:
            handshake.open_vhost(self, method)
            self.state = State.RUNNING
            if self.core.memory.raised:
                self.throttle.came_late()
        elif isinstance(method, commands.Connection.Close) and state in (State.RUNNING, State.CLOSING):
            self._end_channels()
            self.write(encode_method(0, commands.Connection.CloseOk))
            self.drop("closed by the client")
        elif isinstance(method, commands.Connection.CloseOk) and state is State.CLOSING:
            self.drop(self.reason)
        elif isinstance(method, commands.Connection.UpdateSecret) and state is State.RUNNING:
            self.write(encode_method(0, commands.Connection.UpdateSecretOk))
        elif state is not State.CLOSING:
            raise AmqpError(504, f"unexpected method in connection state {state.value}", method=method_id(method.index))

    # -- errors and ends ---------------------------------------------------------------------------------------------

    def _fail(self, error: AmqpError, number: int) -> None:
        """Answer a misuse: a channel's by its end, any other by the connection's."""
        channel = self.channels.get(number)
        if not error.hard and number and channel is not None:
            channel.fail(error)
            return
        state = self.state
        if state is State.CLOSING:
            return
        told = state in (State.OPENING, State.RUNNING) or (state is State.TUNING and error.code == 530)
        if state is State.STARTING and error.code == 403:
            told = "authentication_failure_close" in self.capabilities
        if not told:
            # Section 4.10.2 of AMQP 0-9-1: before the connection is open, an error ends the socket and nothing is sent.
            self.drop(error.text)
            return
        self.close(error.code, error.text, error.method or (0, 0))

    def close(self, code: int, text: str, method: tuple[int, int] = (0, 0)) -> None:
        """End it from this side: tell the client, and wait for its close-ok."""
        if self.state in (State.CLOSING, State.GONE):
            return
        self._end_channels()
        self.write(
            encode_method(
                0,
                commands.Connection.Close,
                reply_code=code,
                reply_text=reply_text(code, text),
                class_id=method[0],
                method_id=method[1],
            )
        )
        self.state = State.CLOSING
        self.reason = text
        self.throttle.let_on()  # its close-ok has to be read
        self._later(CLOSE_OK_SECONDS, lambda: self.drop(text))

    def drop(self, reason: str) -> None:
        """The end: whatever is in the output is still sent, then the socket is closed. Harmless when called again."""
        if self.state is State.GONE:
            return
        self._end_channels()
        self.state = State.GONE
        self.reason = self.reason or reason
        for appointment in self._appointments:
            appointment.cancel()
        self._has_output(self)

    def _end_channels(self) -> None:
        channels = list(self.channels.values())
        for channel in channels:
            channel.shut()
        for channel in channels:
            channel.end()
        self.channels.clear()
        self._confirming.clear()
        if self.vhost is not None:
            for queue in [queue for queue in self.vhost.queues.values() if queue.owner is self]:
                self.vhost.remove_queue(queue)

    def forget_channel(self, number: int) -> None:
        self.channels.pop(number, None)

    def _login_is_over(self) -> None:
        if self.state not in (State.RUNNING, State.CLOSING, State.GONE):
            self.drop("it did not log in in time")

    def _later(self, delay: float, call: Callable[[], object]) -> None:
        self._appointments = [each for each in self._appointments if each.call is not None]
        self._appointments.append(self.core.agenda.at(self.core.agenda.now() + delay, call))

    # -- out ---------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Add frames to the output."""
        out = self._out
        if not out:
            self._has_output(self)
        out.append(data)
        self._out_bytes += len(data)

    def congested(self) -> bool:
        """Whether its client is behind: consumers wait then. ``take_output`` and ``resume`` give them another turn."""
        if self.paused or self._out_bytes > self.core.limits.unsent:
            self._starved = True
            return True
        return False

    def is_full(self) -> bool:
        """Whether even answers have to wait: more than twice what a slow reader may have waiting."""
        return self._out_bytes > 2 * self.core.limits.unsent

    def take_output(self) -> bytes:
        """What is to be sent now."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._out_bytes = 0
        self._last_write = self.core.agenda.now()
        return data

    def feed_starved(self) -> None:
        """Give consumers their turn that had to wait for the socket, if it has room again."""
        if self._starved and not self.paused and not self._out:
            self._starved = False
            for channel in list(self.channels.values()):
                channel.deliveries.kick_all()

    def confirm_later(self, channel: Channel) -> None:
        """Have a channel send its confirms when the bytes at hand are dealt with: many in one frame."""
        self._confirming[channel.number] = channel

    def set_frame_max(self, frame_max: int) -> None:
        self.frame_max = frame_max
        self._framer.frame_max = frame_max

    # -- heartbeats (section 4.2.7) ----------------------------------------------------------------------------------

    def _start_heartbeats(self) -> None:
        if self.heartbeat:
            self._later(self.heartbeat / 2, self._beat)

    def _beat(self) -> None:
        if self.state is State.GONE:
            return
        now = self.core.agenda.now()
        if self.throttle.blocked:  # nothing is read from it, so nothing can be missed
            self._last_read = now
        if now - self._last_read > self.heartbeat * 2:
            self.drop(f"missed heartbeats from client, timeout: {self.heartbeat}s")
            return
        if now - self._last_write >= self.heartbeat / 2 and not self.paused:
            self.write(_HEARTBEAT_FRAME)
        self._later(self.heartbeat / 2, self._beat)

    def catch_up_soon(self) -> None:
        """Deal with the frames that had to wait, once whatever is being dealt with is done."""
        self._later(0, self._catch_up)

    def _catch_up(self) -> None:
        self.proceed()
        self._has_output(self)  # reading goes on even when there is nothing to answer


def _method_in(kind: int, payload: bytes) -> tuple[int, int]:
    if kind != 1 or len(payload) < 4:
        return 0, 0
    return method_id(int.from_bytes(payload[:4], "big"))
