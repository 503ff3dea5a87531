"""A RabbitMQ cluster of three nodes with a quorum queue, each node killed in turn, while events keep coming.

    python benchmarks/soak/cluster.py [--rate 200] [--between 15]

The bridge knows all three addresses. What counts is lost events, and how long a killed node interrupts the flow: the longest
time without a new confirmed event, from the growth of the queue.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.soak._harness import IN_FLIGHT, PUBLISHER_WINDOW, PublisherProcess, Report, World
from benchmarks.soak._tally import Reader, Tally
from pylib.testing.cluster import RabbitCluster
from pylib.testing.rabbitmq import RabbitMQ

MOST_FAILOVER = 5.0


def run(rate: float = 200, between: float = 15) -> Report:
    """Each node is killed once; ``between`` seconds lie between two kills, in which it comes back."""
    report = Report("cluster of three")
    with RabbitCluster(3) as cluster, World(rabbit=False) as world:
        names = ", ".join(node.node_name for node in cluster.nodes)
        report.say(f"quorum queue on {names}; Mosquitto with persistence true; autosave_interval 1")
        reader = Reader(cluster.addresses, "soak", {"x-queue-type": "quorum"})
        bridge = world.bridge(amqp=" ".join(cluster.addresses))
        publisher = world.publisher()
        publisher.rate(rate)
        time.sleep(3)
        worst = 0.0
        for node in cluster.nodes:
            others = [each.address for each in cluster.nodes if each is not node]
            seconds = _failover(node, Reader(others, "soak", {"x-queue-type": "quorum"}), publisher, between)
            report.figure(f"interrupted by the death of {node.node_name[0]} for", seconds, "s")
            worst = max(worst, seconds)
            node.start()
            time.sleep(between / 3)
        accepted = publisher.pause()
        tally = Tally()
        reader.collect(tally, accepted)
        report.figure("failover", worst, "s", at_most=MOST_FAILOVER)
        report.tally(tally, accepted, publisher.devices, most_duplicates=3 * IN_FLIGHT + PUBLISHER_WINDOW)
        if report.broken:
            print(bridge.log_text()[-6000:], file=sys.stderr)
    return report


def _failover(node: RabbitMQ, reader: Reader, publisher: PublisherProcess, most: float) -> float:
    """Kill a node; seconds until what was accepted after the kill is in the queue."""
    node.kill()
    killed = time.monotonic()
    accepted = publisher.status()["accepted"]
    while reader.depth() <= accepted:
        if time.monotonic() - killed > 3 * most:
            break
        time.sleep(0.05)
    return time.monotonic() - killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--between", type=float, default=15, help="seconds between two kills")
    options = parser.parse_args()
    return run(options.rate, options.between).end()


if __name__ == "__main__":
    sys.exit(main())
