"""``exception_handler``: one block around a thread's work that decides what an exception means."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import zmq
from zmq.error import ContextTerminated

from pylib.observe.reporting import report
from pylib.runtime.here import HERE
from pylib.runtime.receipts import fail_handling
from pylib.threads import die, shutting_down
from pylib.zmq import Closable, try_close

__all__ = ["exception_handler"]

log = logging.getLogger("pylib.handler")


class exception_handler(AbstractContextManager[Any]):
    """Handle a thread's exceptions, and open and close its socket around the block.

    closable           closed at the end of the block (by ``close_on_exit``), and its socket is what ``as`` gives
    connect_url        or: a socket on this URL, opened for the block; PULL, REP and PUB bind, the others connect
    socket_type        its type, PUSH unless told otherwise
    and_raise          pass exceptions on after they were handled (default), or end the block quietly
    close_on_exit      close at the end of the block (default); always done when the context is terminated
    shutdown_on_error  an error stops the application with exit code 1

    ``ContextTerminated`` is a normal end. ``ResourceWarning`` (a lost dependency) stops without a crash report. Any other
    exception is logged, reported with the thread's name and the message's topic, and fails the message at hand, which is
    then never acknowledged. ``SystemExit`` and ``KeyboardInterrupt`` always pass through. For the thread that owns the
    socket.
    """

    def __init__(
        self,
        connect_url: str | None = None,
        socket_type: int = zmq.PUSH,
        and_raise: bool = True,
        close_on_exit: bool = True,
        shutdown_on_error: bool = False,
        closable: Any = None,
        is_async: bool = False,
    ) -> None:
        self._connect_url = connect_url
        self._socket_type = socket_type
        self._and_raise = and_raise
        self._close_on_exit = close_on_exit
        self._shutdown_on_error = shutdown_on_error
        self._closable = closable
        self._is_async = is_async
        self._socket: Any = None

    def __enter__(self) -> Any:
        if self._connect_url is not None:
            self._socket = Closable(self._connect_url, self._socket_type, self._is_async).socket
            return self._socket
        return getattr(self._closable, "socket", None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        ended = isinstance(error, ContextTerminated)
        if error is not None:
            self._account_for(error, ended)
        if self._close_on_exit or ended:
            try_close(self._socket)
            if self._closable is not None:
                self._closable.close()
        if error is None or ended:
            return True
        if not isinstance(error, Exception):
            return False  # SystemExit and KeyboardInterrupt are not ours to stop
        if self._shutdown_on_error:
            die(exception=error)
        return not self._and_raise

    def _account_for(self, error: BaseException, ended: bool) -> None:
        if ended:
            # A recv has settled the message before it: what is still in hand was not dealt with.
            fail_handling(error)
            return
        topic = HERE.receipts[0].label if HERE.receipts else None
        thread = HERE.member.name if HERE.member is not None else None
        fail_handling(error)
        if not isinstance(error, Exception):
            return
        if shutting_down:
            log.debug("Ignoring an error while stopping.", exc_info=error)
        elif isinstance(error, ResourceWarning):
            log.warning("%s", str(error) or type(error).__name__)
        else:
            report(error, thread=thread, topic=topic)
            if HERE.member is not None:
                HERE.member.last_error = error  # once is enough: the supervisor need not report it again
