"""What the fault tests share: ports on real brokers, a network that can be cut, and a bridge in a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pylib.testing.plugin import MosquittoFactory
from pylib.testing.rabbitmq import Vhost
from tests.contract.conftest import Mortal as Mortal
from tests.contract.conftest import mortal as mortal
from tests.contract.conftest import world as world
from tests.contract.worlds import MqttWorld, RabbitWorld, World


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is kept in a folder of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@dataclass(frozen=True, slots=True)
class Cable:
    """One port of loopback that can be cut: packets to it are lost, as on a line that somebody pulled."""

    port: int

    def pull(self) -> None:
        """From now on nothing gets through, either way; neither side is told."""
        self._rules("-A")

    def plug(self) -> None:
        """Let everything through again."""
        self._rules("-D")

    def lose(self, share: float) -> None:
        """Lose so many of the packets, at random."""
        self._rules("-A", "-m", "statistic", "--mode", "random", "--probability", str(share))

    def lose_none(self, share: float) -> None:
        """End ``lose``."""
        self._rules("-D", "-m", "statistic", "--mode", "random", "--probability", str(share))

    def refuse(self) -> None:
        """From now on each packet to the broker is answered with RST."""
        self._reject("-A")

    def refuse_none(self) -> None:
        """End ``refuse``."""
        self._reject("-D")

    def _reject(self, change: str) -> None:
        to_broker = ("-i", "lo", "-p", "tcp", "--dport", str(self.port))
        iptables(change, "INPUT", *to_broker, "-j", "REJECT", "--reject-with", "tcp-reset")

    def _rules(self, change: str, *match: str) -> None:
        for side in ("--dport", "--sport"):
            iptables(change, "INPUT", "-i", "lo", "-p", "tcp", side, str(self.port), *match, "-j", "DROP")


def iptables(*arguments: str) -> None:
    """Change a rule; raises when it cannot be."""
    subprocess.run(["iptables", "-w", *arguments], check=True, capture_output=True)


def can_cut() -> bool:
    """Whether packets can be dropped here: that takes root, and iptables."""
    if os.geteuid() != 0:
        return False
    try:
        return subprocess.run(["iptables", "-w", "-S", "INPUT"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture
def cable(world: World) -> Iterator[Cable]:
    """The line to the broker of this test. Only rules for its own port are made, and all of them are removed."""
    if not can_cut():
        pytest.skip("dropping packets takes root and iptables; the frozen proxy beside it shows the same without")
    found = Cable(world.tcp_port)
    yield found
    listed = subprocess.run(["iptables", "-w", "-S", "INPUT"], check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        if line.startswith("-A") and f"port {found.port} " in line:
            iptables("-D", *line.split()[1:])


@pytest.fixture(params=["mqtt5", "amqp"])
def brief(request: pytest.FixtureRequest, mosquitto_factory: MosquittoFactory) -> Iterator[Mortal]:
    """A broker that may be stopped in order and frozen, MQTT 5 or AMQP: 3.1.1 goes the same way as 5.

    RabbitMQ is the shared node, whose start takes seconds: a test that stops it has to start it again.
    """
    if request.param == "amqp":
        vhost: Vhost = request.getfixturevalue("rabbitmq")
        node = vhost.node
        stop, start = (lambda: node.evaluate("ok = rabbit:stop()")), (lambda: node.evaluate("ok = rabbit:start()"))
        yield Mortal(RabbitWorld(vhost.address), _not_here, stop, start, node.pause, node.resume)
        node.resume()
        return
    broker = mosquitto_factory(persistence=True)
    world = MqttWorld(broker.host, broker.port)
    yield Mortal(world, broker.kill, broker.terminate, broker.start, broker.pause, broker.resume)


def _not_here() -> None:
    raise AssertionError("the shared node is not killed")
