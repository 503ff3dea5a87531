"""Random kills of the bridge (SIGKILL), RabbitMQ (SIGKILL) and Mosquitto (SIGTERM), flooded and paced.

    python benchmarks/soak/random_kills.py [--soak] [--minutes 2] [--kills 20] [--flood 4000] [--pace 200] [--seed 1]

``--soak`` is the whole of it: 100 kills in 10 minutes. The kills fall at random moments and may overlap: RabbitMQ takes some
five seconds to come back, and the others are killed meanwhile. The run goes in rounds of a minute: one flooded, one paced,
then both again with the spool, and so on. After each round the publisher pauses, everything has to arrive, and the next
round starts with a fresh queue, so that a round's duplicates are the bridge's and not the reader's.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.soak._harness import (
    CONFIRM_WINDOW,
    IN_FLIGHT,
    PUBLISHER_WINDOW,
    PublisherProcess,
    Report,
    Supervised,
    World,
)
from benchmarks.soak._tally import Tally

VICTIMS = ("bridge", "RabbitMQ", "Mosquitto")


class Killer:
    """Kills on request, each victim in a thread of its own, and none that is down already."""

    def __init__(self, world: World, bridge: Supervised) -> None:
        self._world = world
        self._bridge = bridge
        self._down: dict[str, threading.Thread] = {}
        self.killed = dict.fromkeys(VICTIMS, 0)

    def kill_one(self, dice: random.Random, victims: tuple[str, ...]) -> None:
        up = [victim for victim in victims if victim not in self._down or not self._down[victim].is_alive()]
        if "bridge" in up and not self._bridge.up.is_set():
            up.remove("bridge")
        if not up:
            return
        victim = dice.choice(up)
        self.killed[victim] += 1
        self._down[victim] = thread = threading.Thread(target=self._kill, args=(victim,))
        thread.start()

    def wait(self) -> None:
        for thread in self._down.values():
            thread.join()
        if not self._bridge.up.wait(60):
            raise SystemExit(f"The bridge did not come up again:\n{self._bridge.log_text()[-3000:]}")

    def _kill(self, victim: str) -> None:
        if victim == "bridge":
            self._bridge.kill()
        elif victim == "RabbitMQ":
            self._world.node.kill()
            self._world.node.start()
        else:
            self._world.mosquitto.terminate()
            self._world.mosquitto.start()


def run(
    minutes: float = 10,
    kills: int = 100,
    *,
    flood: float = 4000,
    pace: float = 200,
    seed: int = 1,
    round_seconds: float = 60,
    victims: tuple[str, ...] = VICTIMS,
) -> Report:
    """All rounds, with a bridge without spool and one with it in turn."""
    report = Report("random kills")
    dice = random.Random(seed)
    rounds = max(1, round(minutes * 60 / round_seconds))
    per_round = [kills // rounds + (n < kills % rounds) for n in range(rounds)]
    total = {"accepted": 0, "lost": 0, "disorder": 0, "duplicates": 0, "same id": 0, "allowed": 0}
    killed = dict.fromkeys(VICTIMS, 0)
    begun = time.monotonic()
    for n in range(0, rounds, 2):
        spool = n % 4 >= 2
        with World() as world:
            if n == 0:
                world.describe(report)
            bridge = world.bridge(*(["--spool", str(world.folder / "spool.db")] if spool else []))
            publisher = world.publisher()
            for m in range(n, min(n + 2, rounds)):
                flooded = m % 2 == 0
                what = f"round {m + 1} of {rounds}, {'flooded' if flooded else 'paced'}{', spool' if spool else ''}"
                rate = flood if flooded else pace
                _round(
                    world,
                    bridge,
                    publisher,
                    dice,
                    rate,
                    per_round[m],
                    round_seconds,
                    what,
                    spool,
                    total,
                    killed,
                    report,
                    victims,
                )
            if total["lost"] or total["disorder"]:
                print(bridge.log_text()[-6000:], file=sys.stderr)
                break
    report.figure("kills", sum(killed.values()), at_least=min(kills, 1))
    report.say(", ".join(f"{victim} {count}" for victim, count in killed.items()))
    report.figure("duration", time.monotonic() - begun, "s")
    report.figure("accepted", total["accepted"])
    report.figure("lost", total["lost"], at_most=0)
    report.figure("out of order", total["disorder"], at_most=0)
    report.figure("duplicates", total["duplicates"], at_most=total["allowed"])
    report.figure("of those with the same message id", total["same id"])
    return report


def _round(
    world: World, bridge: Supervised, publisher: PublisherProcess, dice: random.Random, rate: float, kills: int,
    seconds: float, what: str, spool: bool, total: dict[str, int], killed: dict[str, int], report: Report,
    victims: tuple[str, ...],
) -> None:  # fmt: skip
    reader = world.reader(what.replace(" ", "-"))
    before = publisher.status()["accepted"]
    killer = Killer(world, bridge)
    begun = time.monotonic()
    publisher.rate(rate)
    for moment in sorted(dice.uniform(0, seconds) for _ in range(kills)):
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        killer.kill_one(dice, victims)
    time.sleep(max(0.0, begun + seconds - time.monotonic()))
    killer.wait()
    accepted = publisher.pause(60)
    tally = Tally()
    reader.collect(tally, accepted - before)
    reader.delete()
    missing = accepted - before - tally.seen
    window = max(IN_FLIGHT, CONFIRM_WINDOW) if spool else IN_FLIGHT
    allowed = sum(killer.killed.values()) * window + killer.killed["Mosquitto"] * PUBLISHER_WINDOW
    report.say(
        f"{what}: {accepted - before} accepted, {sum(killer.killed.values())} kills, lost {missing}, out of order "
        f"{tally.disorder}, duplicates {tally.duplicates} (same id {tally.same_id}, allowed {allowed})"
    )
    for victim, count in killer.killed.items():
        killed[victim] += count
    found = {"accepted": accepted - before, "lost": missing, "disorder": tally.disorder, "duplicates": tally.duplicates,
             "same id": tally.same_id, "allowed": allowed}  # fmt: skip
    for name, value in found.items():
        total[name] += value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--soak", action="store_true", help="100 kills in 10 minutes")
    parser.add_argument("--flood", type=float, default=4000, help="events per second in flooded rounds")
    parser.add_argument("--pace", type=float, default=200, help="events per second in the others")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=float, default=60, help="seconds per round")
    parser.add_argument("--only", choices=VICTIMS, help="kill nothing else")
    o = parser.parse_args()
    victims = (o.only,) if o.only else VICTIMS
    if o.soak:
        o.minutes, o.kills = 10, 100
    return run(o.minutes, o.kills, flood=o.flood, pace=o.pace, seed=o.seed, round_seconds=o.round, victims=victims).end()


if __name__ == "__main__":
    sys.exit(main())
