"""The subcommand ``pylib doctor``: its options, the order of the tries, and how findings are printed."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from pylib.tools.doctor.findings import ERROR, NOTE, WARNING, Report
from pylib.tools.doctor.plan import Plan, make_plan
from pylib.tools.place import add_place
from pylib.tools.preview import visible

__all__ = ["add_to", "examine"]

_DESCRIPTION = (
    "Tries what the application will do with its brokers, its state folder and its settings, and says what will not work and "
    "how to mend it. Exit code 0: no errors. It declares nothing on RabbitMQ. On MQTT it publishes a test message to a topic "
    "of its own below each filter with a wildcard (--no-canary does without), and leaves a session to see whether the broker "
    "keeps it over a restart (--no-session)."
)
_ORDER: Final = {ERROR: 0, WARNING: 1, NOTE: 2}
_COLOURS: Final = {ERROR: "\x1b[31m", WARNING: "\x1b[33m", NOTE: "\x1b[36m"}
_PLAIN: Final = "\x1b[0m"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser("doctor", help="what will not work, and how to mend it", description=_DESCRIPTION)
    add_place(parser)
    brokers = parser.add_argument_group("what is tried, where the settings do not say it")
    brokers.add_argument("--mqtt-address", metavar="URL", help="mqtt(s)://user:password@host:port")
    brokers.add_argument("--amqp-address", metavar="URL", help="amqp(s)://user:password@host:port/vhost")
    brokers.add_argument("--ca", metavar="FILE", help="PEM file of the authorities to trust")
    several = (
        ("subscribe", "FILTER", "topics that are listened to"),
        ("publish", "FILTER", "topics that are published to"),
        ("exchange", "NAME[:TYPE]", "exchanges and their types (default: topic)"),
        ("bind", "KEY", "binding keys"),
        ("queue", "NAME", "queues"),
    )
    for name, value, words in several:
        brokers.add_argument(f"--{name}", action="append", default=[], metavar=value, help=f"{words}; several times")
    brokers.add_argument("--qos", type=int, choices=(0, 1, 2), help="of subscriptions (default: [mqtt] qos, else 1)")
    brokers.add_argument(
        "--mosquitto-conf", type=Path, metavar="FILE", help="Mosquitto's settings, where it runs on this machine"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--no-canary", action="store_true", help="publish nothing")
    how.add_argument("--no-session", action="store_true", help="leave no session on the MQTT broker")
    how.add_argument(
        "--take-over",
        action="store_true",
        help="take the configured client id for 3 s, to see who else uses it: interrupts a running application",
    )
    how.add_argument("--quiet", action="store_true", help="print findings only, not what is well")
    how.add_argument("--json", action="store_true", help="print JSON, for other programs")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    report = Report()
    examine(make_plan(options, report), options, report)
    findings = sorted(report.findings, key=lambda finding: _ORDER[finding.severity])
    if options.json:
        print(msgspec.json.encode({"healthy": report.healthy, "findings": findings, "well": report.well}).decode())
        return 0 if report.healthy else 1
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for finding in findings:
        start, end = (_COLOURS[finding.severity], _PLAIN) if colour else ("", "")
        print(f"{start}{finding.severity}{end} {finding.code}  {visible(finding.about)}: {visible(finding.what)}")
        print(f"    {visible(finding.fix)}")
    if not options.quiet:
        for line in report.well:
            print(f"ok  {visible(line)}")
    counts = [sum(finding.severity == severity for finding in findings) for severity in _ORDER]
    words = (f"{count} {word}{'' if count == 1 else 's'}" for count, word in zip(counts, _ORDER, strict=True) if count)
    print(", ".join(words) or "Everything that was tried works.")
    return 0 if report.healthy else 1


def examine(plan: Plan, options: argparse.Namespace, report: Report) -> None:
    """Try all of it: this machine first, then each broker as far as one gets."""
    from pylib.tools.doctor.local import look_around
    from pylib.tools.doctor.mapping import judge_topics
    from pylib.tools.doctor.memory import look_at_settings, try_client_id, try_memory
    from pylib.tools.doctor.mqtt import try_mqtt
    from pylib.tools.doctor.rabbit import try_rabbit
    from pylib.tools.doctor.reach import reach

    look_around(plan, report)
    judge_topics(plan, report)
    if plan.mqtt is not None:
        look_at_settings(options.mosquitto_conf, plan.mqtt.addresses, report)
    for address in plan.mqtt.addresses if plan.mqtt is not None else ():
        if plan.mqtt is None or reach(address, plan.mqtt.tls, report) is None:
            continue
        before = report.healthy
        try_mqtt(plan.mqtt, address, report, canary=not options.no_canary)
        if plan.folder is not None and not options.no_session and (before or report.healthy):
            try_memory(plan.mqtt, address, plan.folder, report)
        if options.take_over:
            try_client_id(plan.mqtt, address, report)
    for address in plan.rabbit.addresses if plan.rabbit is not None else ():
        if plan.rabbit is None:
            continue
        greeting = reach(address, plan.rabbit.tls, report)
        if greeting is not None:
            try_rabbit(plan.rabbit, address, greeting, report)
