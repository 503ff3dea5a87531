"""Two hubs of one group on one RabbitMQ cluster, one Mosquitto and one PostgreSQL: the active one is killed, again and again.

    python benchmarks/soak/hub_takeover.py [--kills 10] [--freezes 0] [--rate 60] [--nodes 1] [--seed 1]

The other one has to decide within five seconds, no event may be left undecided, and none decided twice with effect. The one
that was killed is started again, as the one that stands by. ``_hub_verdict.py`` says how the decisions are checked.

One that is frozen instead (SIGSTOP) wakes up after the other one has taken over, with commands in its pipes and a connection
that it takes for good. It has to end by itself, and the decisions have to be the same. RabbitMQ gives a frozen hub up after
two heartbeats, so that this takeover takes ten seconds and more.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from sqlalchemy import func, select

from benchmarks.soak._hub_verdict import Found, settled, verify
from benchmarks.soak._hub_world import PATIENCE, Receivers, Sensors, configure
from event_processor.store import tables as t
from event_processor.store.reader import Reader
from pylib.testing.cluster import RabbitCluster
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.processes import Program, run_program
from tests.unit.store.postgresql import Server

ROOT = Path(__file__).parents[2]
ACTIVE = "This hub is the active one of the group main"
WAITS = "Standing by"


class Pair:
    """Two hubs of one group, one of which is killed at a time."""

    def __init__(self, conf: Path, mosquitto: Mosquitto, amqp: list[str]) -> None:
        self._conf = conf
        self._env = {
            "APP_CONFIG": str(conf),
            "MQTT_SERVER_ADDRESS": mosquitto.address,
            "PYTHONPATH": str(ROOT / "src"),
        }
        self._amqp = amqp
        self._starts = 0
        self.ended: list[Program] = []
        self.active = self.start()
        self.active.wait_for("The event processor is ready", timeout=PATIENCE)
        self.waiting = self.start()
        self.waiting.wait_for(WAITS, timeout=PATIENCE)

    def start(self) -> Program:
        """One more hub, with a state folder of its own, at another node first."""
        number = self._starts = self._starts + 1
        addresses = self._amqp[number % len(self._amqp) :] + self._amqp[: number % len(self._amqp)]
        env = self._env | {
            "DEVICE_NAME": f"hub{number}",
            "RABBITMQ_SERVER_ADDRESS": ", ".join(addresses),
            "STATE_DIRECTORY": str(self._conf.parent / f"state{number % 2}"),
        }
        return run_program([sys.executable, "-m", "event_processor.cli"], env=env, folder=self._conf.parent)

    def kill_active(self) -> None:
        """kill -9; the other one is the active one from now on, and a new one will stand by."""
        self.active.kill()
        self.ended.append(self.active)
        self.active = self.waiting

    def freeze_active(self) -> Program:
        """Stop it in its tracks. Returns it: it is not dead."""
        self.active.signal(signal.SIGSTOP)
        self.ended.append(self.active)
        self.active = self.waiting
        return self.ended[-1]

    def join(self) -> None:
        self.waiting = self.start()
        self.waiting.wait_for(WAITS, timeout=PATIENCE)

    def close(self) -> None:
        self.active.kill()
        self.waiting.kill()


def run(
    folder: Path, mosquitto: Mosquitto, amqp: list[str], database: str, *, kills: int, freezes: int, rate: float, seed: int
) -> tuple[Found, list[float], list[float]]:
    """Returns what was found, and for each kill and each freeze the seconds until the next decision of the other hub."""
    conf = configure(folder, client="house", more=f"group = main\ndatabase = {database}")
    receivers = Receivers(mosquitto, amqp[0])
    pair = Pair(conf, mosquitto, amqp)
    sensors = Sensors(mosquitto, amqp[0], rate=rate, seed=seed)
    dice = random.Random(seed)
    pause = threading.Event()
    took: dict[str, list[float]] = {"kill": [], "freeze": []}
    todo = ["kill"] * kills + ["freeze"] * freezes
    dice.shuffle(todo)
    woken: list[str] = []
    try:
        for what in todo:
            pause.wait(dice.uniform(0.5, 2.0))
            for hub in (pair.active, pair.waiting):
                if not hub.running:
                    raise SystemExit(f"A hub ended by itself:\n{hub.output}")
            epoch, _ = _progress(database)
            began = time.monotonic()
            frozen = None
            if what == "kill":
                pair.kill_active()
            else:
                frozen = pair.freeze_active()
            _wait_for_the_other(database, epoch, pair)
            took[what].append(time.monotonic() - began)
            if frozen is not None:
                pause.wait(dice.uniform(0.0, 1.0))
                frozen.signal(signal.SIGCONT)
                code = frozen.wait(PATIENCE)
                if code != 1:
                    woken.append(f"a hub that woke up ended with exit code {code} instead of 1:\n{frozen.output}")
            pair.join()
        pause.wait(1.0)
        sensors.stop()
        deadline = time.monotonic() + PATIENCE
        while not settled(database, sensors.accepted) and time.monotonic() < deadline:
            pause.wait(0.25)
        pause.wait(0.5)
        codes = (pair.waiting.stop(), pair.active.stop())
        receivers.stop()
        found = verify(database, conf, sensors.accepted, receivers)
        found.wrong.extend(woken)
        if any(codes):
            found.wrong.append(f"the hubs ended with exit codes {codes}")
        if found.wrong:
            print(*(hub.output for hub in (*pair.ended, pair.active, pair.waiting)), sep="\n\n", file=sys.stderr)
        return found, took["kill"], took["freeze"]
    finally:
        pair.close()
        if sensors.running:
            sensors.stop()
        receivers.stop()


def _wait_for_the_other(database: str, epoch: str, pair: Pair) -> None:
    """Until a report was decided on by a hub that came after that epoch."""
    began = time.monotonic()
    before: int | None = None
    pause = threading.Event()
    while True:
        now, last = _progress(database)
        if before is not None and last > before:
            return
        if before is None and now != epoch:
            before = last  # from here on only the other hub writes
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"Nobody took over:\n{pair.active.output}")
        pause.wait(0.02)


def _progress(database: str) -> tuple[str, int]:
    """How often a hub has taken over, and the number of the last report that was decided on."""
    reader = Reader(database)
    try:
        with reader.connect() as connection:
            epoch = connection.execute(select(t.meta.c.value).where(t.meta.c.key == "epoch")).scalar() or ""
            last = connection.execute(select(func.max(t.events.c.id)).where(t.events.c.kind == "input")).scalar() or 0
            return epoch, last
    finally:
        reader.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--freezes", type=int, default=0)
    parser.add_argument("--rate", type=float, default=60)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    server = Server()
    with (
        tempfile.TemporaryDirectory() as folder,
        Mosquitto(max_queued_messages=0) as mosquitto,
        RabbitCluster(o.nodes) as rabbits,
    ):
        server.start()
        try:
            found, killed, frozen = run(Path(folder), mosquitto, rabbits.addresses, server.url(server.create()), kills=o.kills,
                                       freezes=o.freezes, rate=o.rate, seed=o.seed)  # fmt: skip
        finally:
            server.close()
    for each in found.wrong[:60]:
        print(each)
    for what, took in (("takeovers", killed), ("takeovers from a frozen hub", frozen)):
        if took:
            print(f"{len(took)} {what} on {o.nodes} nodes, slowest {max(took):.2f} s, "
                  f"median {sorted(took)[len(took) // 2]:.2f} s")  # fmt: skip
    print(f"{found.events} events, {found.steps} steps, {found.repeated} sent again under the same id, "
          f"{len(found.wrong)} differences")  # fmt: skip
    return 1 if found.wrong or max(killed, default=0) > 5 else 0


if __name__ == "__main__":
    sys.exit(main())
