"""Application threads: supervised, with a name, a restart policy and a place in the stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from types import GeneratorType, MethodType
from typing import Any

import zmq
from zmq.error import Again, ContextTerminated

from pylib.errors import MessageError, Rejected
from pylib.observe.reporting import report
from pylib.runtime.here import HERE
from pylib.runtime.loop import READ, Loop
from pylib.runtime.member import DEFAULT_DEADLINE, STOP, Member, RestartPolicy
from pylib.runtime.receipts import fail_handling, settle_handling
from pylib.runtime.runtime import Runtime, current
from pylib.zmq import Closable

__all__ = ["AppThread", "RestartPolicy", "ZmqRelay", "ZmqWorker"]

log = logging.getLogger("pylib.app")

# Messages handled per wake-up before the loop looks at its timers and at what was posted to it.
BATCH = 200


class AppThread(threading.Thread):
    """A supervised thread. Subclasses write ``run``; how it ended is known at once and acted upon.

    name      defaults to the class's name; two threads may share one
    restart   what follows its death: by default the application ends with exit code 1
    deadline  seconds that it may be busy with one thing before it is reported as hung and the application stops

    The thread belongs to the runtime that is current when it is made. ``run`` ends when the stop has been asked for: check
    ``pylib.threads.shutting_down``, or block in a socket's ``recv``, which raises ``ContextTerminated`` then. It is a daemon
    thread. Initialising it twice, or after another base class, is harmless.
    """

    member: Member
    runtime: Runtime

    def __init__(self, name: str | None = None, *, restart: RestartPolicy = STOP, deadline: float = DEFAULT_DEADLINE) -> None:
        threading.Thread.__init__(self, name=name or type(self).__name__, daemon=True)
        if "member" not in self.__dict__:
            self.runtime = current()
            self.member = Member(self.name, policy=restart, deadline=deadline)
        else:
            self.member.name = self.name

    def start(self) -> None:
        """Start the thread under supervision. Any thread; once, RuntimeError after that."""
        if self.member.thread is not None:
            raise RuntimeError(f"thread {self.name!r} was started already: make a new one, or give it a restart policy")
        body, member, runtime = self.run, self.member, self.runtime
        if runtime.supervisor.report is None:
            runtime.supervisor.report = _report_death

        def life(thread: AppThread) -> None:
            runtime.supervisor.live(member, lambda: thread._run_adopted(body))

        # A bound method, as Thread's own is: who wraps it (Sentry's integration does) passes the thread to its function.
        self.run = MethodType(life, self)  # type: ignore[method-assign]  # the one place between Thread and a subclass's run
        member.thread = self
        if isinstance(self, Closable):
            self._hand_over(member)
        runtime.supervisor.admit(member)
        try:
            super().start()
        except BaseException:
            runtime.supervisor.dismiss(member)
            raise

    def untrack(self) -> None:
        """This thread may end when it likes: its end is then no reason to stop the application."""
        self.member.tracked = False

    def stop(self, timeout: float | None = None) -> bool:
        """Ask this thread alone to end and wait for it, at most ``timeout`` seconds (default: the runtime's stop budget).

        Posts and joins, so any thread may call it. True if the thread has ended.
        """
        return self.runtime.dismiss(self.member, self.runtime.stop_budget if timeout is None else timeout)

    def _run_adopted(self, body: Callable[[], None]) -> None:
        if isinstance(self, Closable):
            self._adopt_sockets(self.member)
        body()


def _report_death(error: BaseException, thread: str, topic: str) -> None:
    report(error, thread=thread, topic=topic or None)


class LoopThread(AppThread):
    """An application thread that lives on a loop: ``arrange`` says what to watch, ``drain`` what remains at the end."""

    def run(self) -> None:
        member = self.member
        loop = Loop(member, self.runtime.clock)
        member.loop = loop
        try:
            self.startup()
            self.arrange(loop)
            loop.watch(member.gate.fileno(), READ, lambda mask: self._gate_opened(loop))
            loop.run()
        finally:
            member.loop = None
            self.cleanup()
            loop.close()

    def startup(self) -> None:
        """Called on the thread before anything else. For subclasses."""

    def arrange(self, loop: Loop) -> None:
        """Tell the loop what to watch. For subclasses."""

    def drain(self, loop: Loop) -> None:
        """It is this thread's turn to end: deal with what is left, then have the loop stop. For subclasses."""
        loop.stop()

    def cleanup(self) -> None:
        """Called on the thread after the loop has ended, however it ended. For subclasses."""

    def _gate_opened(self, loop: Loop) -> None:
        loop.unwatch(self.member.gate.fileno())  # it stays readable
        self.drain(loop)


class ZmqRelay(LoopThread, Closable):
    """Takes messages from one pipe, does something with each, and sends what comes of it down another.

    Write ``process(message)``, which returns the message to send, ``None`` to send nothing, or a generator of several. Or
    write ``process_message(sink_socket)``, which receives and sends by itself, one message a call.

    A ``process`` that raises fails the one message, and the thread goes on: a message that came from a broker is tried again
    later and becomes a dead letter in the end, at once for a ``MessageError``; one from within is logged and dropped. An
    exception out of an own ``process_message`` is the thread's death, but for a ``MessageError``, and its restart policy
    decides. PULL binds ``source_zmq_url`` at construction; PUSH connects to the sink.
    """

    def __init__(
        self,
        name: str | None = None,
        source_zmq_url: str = "",
        sink_zmq_url: str = "",
        *,
        restart: RestartPolicy = STOP,
        deadline: float = DEFAULT_DEADLINE,
    ) -> None:
        AppThread.__init__(self, name, restart=restart, deadline=deadline)
        Closable.__init__(self, connect_url=source_zmq_url)
        self._sink_zmq_url = sink_zmq_url
        self._sink: Any = None

    def process(self, message: Any) -> Any:
        """What to send on for this message. The default sends it on as it is."""
        return message

    def process_message(self, sink_socket: Any) -> None:
        """Receive one message and send what ``process`` makes of it."""
        message = self.socket.recv_pyobj()
        result = self.process(message)
        if isinstance(result, GeneratorType):
            for each in result:
                sink_socket.send_pyobj(each)
        elif result is not None:
            sink_socket.send_pyobj(result)

    def arrange(self, loop: Loop) -> None:
        if self._sink is None:
            self._sink = self.get_socket(zmq.PUSH)
            self._sink.connect(self._sink_zmq_url)
        loop.watch(self.socket, READ, lambda mask: self._serve(BATCH))

    def drain(self, loop: Loop) -> None:
        # A pipe holds at most two high-water marks: more than that is not waiting, it is arriving.
        self._serve(2 * self.socket.getsockopt(zmq.RCVHWM) + BATCH)
        loop.stop()

    def cleanup(self) -> None:
        settle_handling()

    def _serve(self, most: int) -> None:
        if type(self).process_message is ZmqRelay.process_message:
            self._relay(most)
        else:
            self._call_process_message(most)

    def _relay(self, most: int) -> None:
        """A batch through ``process``. The common case, one message in and one out, hands the receipts on untouched."""
        socket, sink, process, member = self.socket, self._sink, self.process, self.member
        monotonic, hops = self.runtime.clock.monotonic, self.runtime.receipts.hops
        if hops is not None:
            process = hops.around(self.name, process)
        for _ in range(most):
            try:
                message, carried = socket.take()
            except Again:
                return
            member.busy_since = monotonic()
            try:
                result = process(message)
                if result is not None and type(result) is not GeneratorType:
                    sink.pass_on(result, carried)
                    continue
                for each in result or ():
                    sink.send_pyobj(each)
            except ContextTerminated:
                raise
            except Exception as error:
                self._failed(error)
            else:
                settle_handling()

    def _call_process_message(self, most: int) -> None:
        socket, member, monotonic, hops = self.socket, self.member, self.runtime.clock.monotonic, self.runtime.receipts.hops
        process_message = self.process_message if hops is None else hops.taking(self.name, self.process_message)
        for _ in range(most):
            if not socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                break
            member.busy_since = monotonic()
            try:
                process_message(self._sink)
            except MessageError as error:
                self._failed(error)
        settle_handling()

    def _failed(self, error: Exception) -> None:
        """One message failed: whoever took it from its broker decides what follows; a message from within ends here."""
        receipts = HERE.receipts
        fail_handling(error)
        if isinstance(error, MessageError):
            log.warning("%s: a message was set aside: %s: %s", self.name, type(error).__name__, error)
        elif not receipts:
            log.error("%s: a message was dropped: %s: %s", self.name, type(error).__name__, error, exc_info=error)
            report(error, thread=self.name)


class ZmqWorker(LoopThread, Closable):
    """Answers requests: REP on ``worker_zmq_url``, one ``process_message(message)`` a request; what it returns is the answer.

    If it raises, the requester gets a ``Rejected`` as its answer rather than waiting for ever, and the exception is then
    treated as a relay's: a ``MessageError`` costs one message, any other one the thread.
    """

    def __init__(
        self, name: str | None = None, worker_zmq_url: str = "", *, restart: RestartPolicy = STOP,
        deadline: float = DEFAULT_DEADLINE,
    ) -> None:  # fmt: skip
        AppThread.__init__(self, name, restart=restart, deadline=deadline)
        Closable.__init__(self, connect_url=worker_zmq_url, socket_type=zmq.REP)

    def process_message(self, message: Any) -> Any:
        """The answer to a request. For subclasses."""
        raise NotImplementedError(f"{type(self).__name__} must say what it answers: write process_message(message)")

    def arrange(self, loop: Loop) -> None:
        loop.watch(self.socket, READ, lambda mask: self._serve())

    def drain(self, loop: Loop) -> None:
        self._serve()
        loop.stop()

    def _serve(self) -> None:
        hops = self.runtime.receipts.hops
        answer = self.process_message if hops is None else hops.around(self.name, self.process_message)
        for message in self._requests():
            try:
                self.socket.send_pyobj(answer(message=message))
            except ContextTerminated:
                raise
            except Exception as error:
                self.socket.send_pyobj(Rejected(f"{self.name} could not answer: {type(error).__name__}: {error}"))
                if not isinstance(error, MessageError):
                    raise
                log.warning("%s: a request was refused: %s", self.name, error)
                fail_handling(error)
        settle_handling()

    def _requests(self) -> Iterator[Any]:
        for _ in range(BATCH):
            if not self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                return
            self.member.busy_since = self.runtime.clock.monotonic()
            yield self.socket.recv_pyobj()
