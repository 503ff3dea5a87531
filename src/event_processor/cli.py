"""The command ``event-processor``.

A stop may be asked for at any moment, so the handlers come first, before anything that takes time to import. Until
something is open a signal ends the process at once; from then on it trips the runtime's latch, and the stop goes by its
stages.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time

TYPE_CHECKING = False  # typing's own costs 8 ms, in which nobody would listen to a signal
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from event_processor.demo import Demo
    from event_processor.settings import HubSettings

__all__ = ["main"]

# What ends by itself, and needs no other answer to a signal than Python's own.
_TOOLS = frozenset(
    ("accounts", "ask", "backup", "devices", "events", "import-original", "restore", "rules", "schedules", "state")
)


class _AtOnce:
    """A handler for the time before anything is open and after everything is closed: there is nothing to wait for."""

    code = 0

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self)
        signal.signal(signal.SIGINT, self)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _announce("Signal handlers are installed")

    def __call__(self, number: int, frame: object) -> None:
        os._exit(self.code)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the event processor.

    Exit code 0 after a signal, 1 after an error (one line of the log says what to mend), 2 for wrong arguments.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if _command(words) in _TOOLS or not {"-h", "--help"}.isdisjoint(words):
        from event_processor.commands.main import main as tool

        sys.exit(tool(words))
    at_once = _AtOnce()
    at_once.install()
    options = _arguments(words)
    if options.config is not None:
        os.environ["APP_CONFIG"] = options.config
    os.environ.setdefault("APP_NAME", "event-processor")
    demo = None
    if options.command == "demo":
        from event_processor.demo import Demo

        demo = Demo()

    from pylib.config import app_config
    from pylib.errors import PylibError
    from pylib.observe.logging import configure_logging, log

    configure_logging("INFO")  # until it is known what the settings want
    try:
        configure_logging()
        command: Callable[[HubSettings], int] = _check if options.command == "check" else _run(options, at_once, demo)
        from event_processor.settings import load
        from event_processor.settings.spelling import misspelt

        if demo is not None:
            demo.prepare()

        settings = load(app_config)
        for problem in misspelt(app_config.sections()):
            log.warning("%s: %s", app_config.path, problem)
        code = command(settings)
    except PylibError as error:  # of the settings, or of a store that another hub has
        log.error("%s", error)
        code = 1
    sys.exit(code)


def _run(options: argparse.Namespace, at_once: _AtOnce, demo: Demo | None) -> Callable[[HubSettings], int]:
    from event_processor.app import build
    from event_processor.standby import join_group
    from pylib.config import app_config
    from pylib.observe.logging import log
    from pylib.process import SignalHandler
    from pylib.runtime.latch import Latch
    from pylib.runtime.runtime import Runtime, reset_default
    from pylib.runtime.signals import Signals
    from pylib.threads import bye
    from pylib.zmq import zmq_term

    def run(settings: HubSettings) -> int:
        wait = app_config.getboolean("app", "wait_for_brokers", fallback=True) if options.wait is None else options.wait
        latch = Latch()
        signals = Signals(latch)
        signals.install()
        runtime = Runtime(latch=latch)
        reset_default(runtime)
        SignalHandler(signals)
        device = app_config.device_name()
        try:
            standby = join_group(settings)
            if standby is None or standby.wait():
                hub = build(settings, runtime, device=device, reconnect="unless_refused" if wait else "after_first")
                log.info("The event processor starts on %s.", device)
                if demo is not None:
                    demo.attach(runtime, settings)
                _settle_down()
                hub.start()
                hub.wait()
        finally:
            zmq_term()
            if demo is not None:
                demo.close()
            at_once.code = runtime.exit_code
        try:
            bye()
        except SystemExit as end:
            _leave(end.code if isinstance(end.code, int) else 1)

    return run


def _leave(code: int) -> NoReturn:
    """Everything is closed and said. To take apart what is loaded costs the interpreter a third of a second of work, and
    more on a Raspberry Pi; the end of the process does that at once.
    """
    import atexit
    import logging

    atexit._run_exitfuncs()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _settle_down() -> None:
    """What start-up has made stays for good: the collector need not look through it again and again, 50 ms at a time. And a
    thread that an event waits for gets its turn after a millisecond rather than five."""
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.0005)


def _check(settings: HubSettings) -> int:
    """Try both brokers once, and say on one line each whether they let us in."""
    from event_processor.probe import probe

    found = probe(settings)
    for name, problem in found:
        print(problem or f"{name}: ok")
    return 1 if any(problem for _, problem in found) else 0


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    from event_processor.commands.arguments import make_parser

    return make_parser().parse_args(words)


def _command(words: Sequence[str]) -> str:
    """The first word that is neither an option nor the one that belongs to it."""
    past = iter(words)
    for word in past:
        if word == "--config":
            next(past, None)
        elif not word.startswith("-"):
            return word
    return ""


def _announce(text: str) -> None:
    """Write one line to the log before logging is there: in the log's own form, and in one write."""
    now = time.time()
    milliseconds = f"{int(now % 1 * 1000):03d}"
    if os.isatty(2):
        line = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{milliseconds} INFO     MainThread  {text}\n"
    else:
        moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{milliseconds}Z"
        start = f'"time":"{moment}","level":"INFO","logger":"event_processor","thread":"MainThread"'
        line = f'{{{start},"message":"{text}"}}\n'
    try:
        os.write(2, line.encode())
    except OSError:
        return  # nobody reads the log


if __name__ == "__main__":
    main()
