"""Events at a steady rate while each program on their way is killed once; counts what was lost, repeated, out of order.

    python benchmarks/soak/kill_schedule.py [--rate 200] [--seconds 55] [--spool] [--ids] [--through N]

The bridge is killed (SIGKILL), RabbitMQ is killed and restarted, RabbitMQ is killed and away for 10 s, Mosquitto is
restarted (SIGTERM, with persistence). What Mosquitto has acknowledged has to be in RabbitMQ's queue afterwards.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.soak._harness import CONFIRM_WINDOW, IN_FLIGHT, PUBLISHER_WINDOW, Report, World
from benchmarks.soak._tally import Tally


def run(
    rate: float = 200, seconds: float = 55, *, spool: bool = False, ids: bool = False, through: int = 0, away: float = 10
) -> Report:
    """One run. The kills fall at 15, 33, 51 and 85 % of the time, pauses for RabbitMQ's starts included."""
    how = f"{' with the spool' if spool else ''}{' with ids of the publisher' if ids else ''}"
    how += f" through {through}" if through else ""
    report = Report(f"kill schedule at {rate:g}/s{how}")
    with World() as world:
        world.describe(report)
        reader = world.reader()
        bridge = world.bridge("--through", str(through), *(["--spool", str(world.folder / "spool.db")] if spool else []))
        publisher = world.publisher(*(["--version", "5", "--ids"] if ids else []))
        begun = time.monotonic()

        def at(share: float) -> None:
            time.sleep(max(0.0, begun + share * seconds - time.monotonic()))

        publisher.rate(rate)
        at(0.15)
        bridge.kill()
        at(0.33)
        world.node.kill()
        world.node.start()
        at(0.51)
        world.node.kill()
        time.sleep(away)
        world.node.start()
        at(0.85)
        world.mosquitto.terminate()
        world.mosquitto.start()
        at(1)
        accepted = publisher.pause()
        tally = Tally()
        reader.collect(tally, accepted)
        window = max(IN_FLIGHT, CONFIRM_WINDOW) if spool else IN_FLIGHT
        report.tally(tally, accepted, publisher.devices, most_duplicates=4 * window + PUBLISHER_WINDOW)
        if ids:
            report.figure("with another message id", tally.duplicates - tally.same_id, at_most=0)
        report.figure("starts of the bridge", bridge.starts, at_most=2)
        if report.broken:
            print(bridge.log_text()[-6000:], file=sys.stderr)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=55)
    parser.add_argument("--spool", action="store_true")
    parser.add_argument("--ids", action="store_true", help="the publisher sends message ids of its own (MQTT 5)")
    parser.add_argument("--through", type=int, default=0, help="relays in between")
    options = parser.parse_args()
    report = run(options.rate, options.seconds, spool=options.spool, ids=options.ids, through=options.through)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
