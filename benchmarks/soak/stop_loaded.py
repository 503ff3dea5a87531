"""A stop with everything full: events waiting in Mosquitto, the bridge's window and pipes full, RabbitMQ not answering.

    python benchmarks/soak/stop_loaded.py [--events 50000]

The bridge has to leave within its deadline with exit code 0, with RabbitMQ frozen, under a memory alarm, and working at full
speed, with and without relays in between and with a spool; started again, it has to deliver everything.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.soak._harness import CONFIRM_WINDOW, IN_FLIGHT, Report, World
from benchmarks.soak._tally import Tally

# Seconds that a stop may take: the staged stop's 0.7 and what the interpreter needs to leave.
DEADLINE = 1.0
CASES = (("frozen", 0, False), ("frozen", 3, False), ("alarm", 3, False), ("working", 0, False), ("working", 3, False),
         ("frozen", 0, True), ("working", 3, True))  # fmt: skip


def run(state: str, through: int, spool: bool, events: int = 50_000, deadline: float = DEADLINE) -> Report:
    """One stop. ``state`` is RabbitMQ's: frozen, alarm or working; ``deadline`` in seconds."""
    report = Report(f"stop loaded, RabbitMQ {state}{f', through {through}' if through else ''}{', spool' if spool else ''}")
    with World() as world:
        node, reader = world.node, world.reader()
        options = ["--through", str(through), *(["--spool", str(world.folder / "spool.db")] if spool else [])]
        bridge = world.bridge(*options)
        publisher = world.publisher()
        if state == "frozen":
            node.pause()
        elif state == "alarm":
            node.set_vm_memory_high_watermark(0)
        else:
            bridge.terminate()
        publisher.rate(0)
        while publisher.status()["published"] < events:
            time.sleep(0.05)
        accepted = publisher.pause(60)
        if state == "working":
            bridge.start_again()  # with everything waiting, and the stop in the middle of it
            bridge.up.wait(20)
            time.sleep(0.3)
        code, seconds = bridge.terminate()
        report.figure("exit code", code, at_most=0)
        report.figure("stopped after", seconds, "s", at_most=deadline)
        if state == "frozen":
            node.resume()
        elif state == "alarm":
            node.set_vm_memory_high_watermark(0.4)
        bridge.start_again()
        tally = Tally()
        reader.collect(tally, accepted)
        report.tally(tally, accepted, publisher.devices, most_duplicates=CONFIRM_WINDOW if spool else IN_FLIGHT)
        report.figure("errors logged", bridge.log_text().count('"level":"ERROR"'), at_most=0)
        if report.broken:
            print(bridge.log_text()[-5000:], file=sys.stderr)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    options = parser.parse_args()
    reports = [run(*case, options.events) for case in CASES]
    code = max([report.end() for report in reports])
    print(f"stop loaded: slowest stop {max(report.figures['stopped after'] for report in reports):.2f} s")
    print(f"stop loaded: lost in all {sum(report.figures['lost'] for report in reports):.0f}")
    return code


if __name__ == "__main__":
    sys.exit(main())
