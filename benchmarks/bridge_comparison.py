"""Our bridge and other Python bridges in one run, taking turns: MQTT at QoS 1 into a durable RabbitMQ queue.

    python benchmarks/bridge_comparison.py                     all, a quarter of an hour; writes benchmarks/results/
    python benchmarks/bridge_comparison.py throughput          events/s, CPU, memory, loss (and the spool, and four threads)
    python benchmarks/bridge_comparison.py latency             one event at a time, 100/s
    python benchmarks/bridge_comparison.py away                all events while RabbitMQ is away: every one through the spool
    python benchmarks/bridge_comparison.py redraw              the picture anew from the figures in benchmarks/results/
    options: --rounds 3 --events 20000 --latency-events 2000 --only ours,aio,...

Private brokers are started for it. Rounds are interleaved (A B C, A B C, ...), a ratio is taken within each round, and its
least, median and most are printed: what else the machine does changes the figures, and hardly the ratios.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE.parent)]

from benchmarks._bridge_chart import Bar, draw  # noqa: E402
from benchmarks._bridge_latency import latencies  # noqa: E402
from benchmarks._bridge_trials import (  # noqa: E402
    CANDIDATES,
    MOSQUITTO_SETTINGS,
    Candidate,
    Node,
    Throughput,
    events,
    spooled,
    throughput,
)  # fmt: skip
from scripts.figures_machine import commit, describe_machine  # noqa: E402

PARTS = ("throughput", "latency", "away")
COMPARED_WITH = ("aiomqtt", "aio-pika", "faststream", "uvloop")
LATENCY = ("ours", "spool", "hand", "confirm", "uvloop", "faststream")
LATENCY_RATE = 100.0
RABBITMQ_SETTINGS = "as it comes, no plugins but rabbitmq_mqtt; classic durable queue, persistent messages"
RESULTS = HERE / "results"
Runs = dict[str, list[Throughput]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Our bridge and its peers, side by side.")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--latency-events", type=int, default=2000)
    parser.add_argument("--only", default="", help=f"of {','.join(each.key for each in CANDIDATES)}")
    options = parser.parse_args()
    if options.parts == ["redraw"]:
        picture(json.loads((RESULTS / "bridge_comparison.json").read_text()))
        return
    parts = options.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    chosen = [each for each in CANDIDATES if not options.only or each.key in options.only.split(",")]
    machine = describe_machine() | {name: _version(name) for name in COMPARED_WITH}
    print("; ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"Mosquitto: {MOSQUITTO_SETTINGS}\nRabbitMQ: {RABBITMQ_SETTINGS}", flush=True)
    runs: Runs = {}
    delays: dict[str, list[float]] = {}
    away: list[Throughput] = []
    with Node(plugins=["rabbitmq_mqtt"]) as node:
        if "throughput" in parts:
            runs = run_rounds(chosen, node, events(options.events), options.rounds)
            show_runs(chosen, runs)
        if "latency" in parts:
            taking_turns = [each for each in chosen if each.key in LATENCY]
            delays = dict(
                zip(
                    (each.key for each in taking_turns),
                    latencies(taking_turns, node, options.latency_events, LATENCY_RATE, 20),
                    strict=True,
                )
            )
            show_latency(taking_turns, delays)
        if "away" in parts:
            away = [spooled(_candidate("spool"), node, events(options.events)) for _ in range(min(3, options.rounds))]
            show_away(away)
    if not options.parts and not options.only:
        save(machine, options.events, runs, delays, away)
    lost = sum(run.lost for key, each in runs.items() if "library" in _candidate(key).name for run in each)
    if lost or any(run.lost for run in away):
        raise SystemExit("this library lost events")


def run_rounds(chosen: Sequence[Candidate], node: Node, lines: bytes, rounds: int) -> Runs:
    """Every candidate once per round, so that each round is a pair with every other."""
    runs: Runs = {each.key: [] for each in chosen}
    for number in range(rounds):
        print(f"round {number + 1}:", end="", flush=True)
        for each in chosen:
            runs[each.key].append(throughput(each, node, lines))
            print(f" {each.key}", end="", flush=True)
        print(flush=True)
    return runs


# -- what is printed -----------------------------------------------------------------------------------------------------


def show_runs(chosen: Sequence[Candidate], runs: Runs) -> None:
    print(f"\n{'bridge (medians)':34s} {'promise':14s} {'events/s':>9s} {'CPU us/event':>13s} {'RSS MiB':>8s}  lost   dup")
    for each in chosen:
        done = runs[each.key]
        cpu, rss = _median([run.cpu_us for run in done]), _median([run.rss_mib for run in done])
        speed = statistics.median(run.events_per_s for run in done)
        print(f"{each.name:34s} {each.promise:14s} {speed:9.0f} {_figure(cpu, 1):>13s} {_figure(rss, 0):>8s} "
              f"{sum(run.lost for run in done):5d} {sum(run.duplicates for run in done):5d}")  # fmt: skip
    print("\nratios, round by round: least / median / most")
    for ours, others in (("ours", ("aio", "uvloop", "hand", "confirm", "faststream", "workers")), ("spool", ("aio",))):
        for other in others:
            show_ratio("CPU per event", ours, other, [run.cpu_us for run in runs.get(ours, [])],
                       [run.cpu_us for run in runs.get(other, [])])  # fmt: skip
    show_ratio("CPU per event", "four", "ours", [run.cpu_us for run in runs.get("four", [])],
               [run.cpu_us for run in runs.get("ours", [])])  # fmt: skip
    for other in ("plugin", "aio", "uvloop", "hand"):
        show_ratio("events/s", "ours", other, [run.events_per_s for run in runs.get("ours", [])],
                   [run.events_per_s for run in runs.get(other, [])])  # fmt: skip


def show_ratio(what: str, ours: str, other: str, mine: Sequence[float | None], theirs: Sequence[float | None]) -> None:
    ratios = ratio(mine, theirs)
    if ratios:
        least, middle, most = ratios
        print(f"ratio {what}, {ours} / {other}: {least:.3f} / {middle:.3f} / {most:.3f}")


def ratio(mine: Sequence[float | None], theirs: Sequence[float | None]) -> tuple[float, float, float] | None:
    """Least, median and most of the pairs' ratios; None when there is no pair."""
    pairs = [a / b for a, b in zip(mine, theirs, strict=False) if a is not None and b]
    return (min(pairs), statistics.median(pairs), max(pairs)) if pairs else None


def show_latency(candidates: Sequence[Candidate], delays: dict[str, list[float]]) -> None:
    print(f"\nlatency, one event at a time, {LATENCY_RATE:.0f}/s, in turns")
    for each in candidates:
        p50, p90, p99 = (at(delays[each.key], share) for share in (0.5, 0.9, 0.99))
        print(f"latency {each.key}: p50 {p50:.3f} ms, p90 {p90:.3f} ms, p99 {p99:.3f} ms, n {len(delays[each.key])}")
    for other in ("hand", "confirm"):
        if "ours" in delays and other in delays:
            first, last = (at(delays["ours"], share) / at(delays[other], share) for share in (0.5, 0.99))
            print(f"ratio latency, ours / {other}: p50 {first:.3f}, p99 {last:.3f}")


def at(delays: Sequence[float], share: float) -> float:
    """The delay that so large a share stays below, in milliseconds."""
    ordered = sorted(delays)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def show_away(away: Sequence[Throughput]) -> None:
    cpu = statistics.median(run.cpu_us or 0.0 for run in away)
    print(f"\nRabbitMQ away until all had arrived, every event through the spool: CPU {cpu:.1f} us/event, "
          f"lost {sum(run.lost for run in away)}, duplicates {sum(run.duplicates for run in away)}")  # fmt: skip


# -- what is kept --------------------------------------------------------------------------------------------------------


def save(machine: dict[str, str], count: int, runs: Runs, delays: dict[str, list[float]], away: Sequence[Throughput]) -> None:
    """Write the figures and their picture into ``results/``."""
    RESULTS.mkdir(exist_ok=True)
    kept = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(HERE.parent),
        "machine": machine,
        "load_of_last_15_minutes": round(os.getloadavg()[2], 1),
        "Mosquitto": MOSQUITTO_SETTINGS,
        "RabbitMQ": RABBITMQ_SETTINGS,
        "events": count,
        "throughput": {_candidate(key).name: [asdict(run) for run in each] for key, each in runs.items()},
        "latency_ms": {
            _candidate(key).name: {f"p{share * 100:g}": round(at(each, share), 3) for share in (0.5, 0.9, 0.99)}
            for key, each in delays.items()
        },
        "all_through_the_spool": [asdict(run) for run in away],
    }
    (RESULTS / "bridge_comparison.json").write_text(json.dumps(kept, indent=2) + "\n")
    picture(kept)
    print("\nwritten: benchmarks/results/bridge_comparison.json and .png")


def picture(kept: dict[str, Any]) -> None:
    """Draw what was kept."""
    runs, machine = kept["throughput"], kept["machine"]
    speed = [_bar(name, [run["events_per_s"] for run in each], "{:,.0f}") for name, each in runs.items()]
    cpu = [_bar(name, [run["cpu_us"] for run in each], "{:.0f}") for name, each in runs.items() if each[0]["cpu_us"]]
    slow = [
        Bar(name, "library" in name, each["p50"], each["p50"], each["p99"], f"{each['p50']:.2f} / {each['p99']:.2f}")
        for name, each in kept["latency_ms"].items()
    ]
    rounds = len(next(iter(runs.values())))
    losses = {name: sum(run["lost"] for run in each) for name, each in runs.items()}
    lost = "; ".join(f"{name} {count:,}" for name, count in losses.items() if count)
    caption = {
        "Measured": f"{kept['date']}, {kept['events']:,} events of about 250 bytes, median of {rounds} interleaved rounds "
        f"(whiskers: least and most); latency at {LATENCY_RATE:.0f} events/s; load of the machine (15 minutes) "
        f"{kept['load_of_last_15_minutes']}, brokers and other work included",
        "Machine": "; ".join(f"{name} {machine[name]}" for name in ("CPU", "system", "Python")),
        "Versions": "; ".join(f"{name} {value}" for name, value in list(machine.items())[4:]),
        "Mosquitto": kept["Mosquitto"],
        "RabbitMQ": kept["RabbitMQ"],
        "Lost in all rounds": lost or "none by any",
    }
    draw(RESULTS / "bridge_comparison.png", speed, cpu, slow, caption)


def _bar(name: str, figures: Sequence[float], form: str) -> Bar:
    middle = statistics.median(figures)
    return Bar(name, "library" in name, middle, min(figures), max(figures), form.format(middle))


def _candidate(key: str) -> Candidate:
    return next(each for each in CANDIDATES if each.key == key)


def _median(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
