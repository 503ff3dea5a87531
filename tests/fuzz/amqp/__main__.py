"""`python -m tests.fuzz.amqp --frames 200000 --socket-frames 20000 --seed 1`: the long form."""

from __future__ import annotations

import argparse
import faulthandler
import time

from tests.fuzz.amqp.core_run import CoreFuzz, Report
from tests.fuzz.amqp.socket_run import fuzz_socket


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutated AMQP frames into the embedded broker.")
    parser.add_argument("--frames", type=int, default=200_000, help="into the sessions, without a socket")
    parser.add_argument("--socket-frames", type=int, default=20_000, help="over a socket")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the session to begin with, to see a defect again")
    options = parser.parse_args()
    faulthandler.dump_traceback_later(1800, exit=True)  # a hang shows its stack
    began = time.monotonic()
    _show("sessions", CoreFuzz(options.seed, options.first).run(options.frames), began)
    began = time.monotonic()
    _show("socket", fuzz_socket(options.seed, options.socket_frames), began)
    faulthandler.cancel_dump_traceback_later()
    print("defects 0")


def _show(where: str, report: Report, began: float) -> None:
    for ending, count in sorted(report.endings.items(), key=lambda each: -each[1]):
        print(f"  {count:7d} {ending}")
    print(f"{where}: mutated frames {report.frames} in {report.sessions} connections, {time.monotonic() - began:.0f} s")


main()
