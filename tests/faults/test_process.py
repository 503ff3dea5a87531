"""Faults of the machine around one process: no descriptors left, a clock that jumps, a name that is not known, impatience."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import paho.mqtt.client as paho
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import FaultProxyFactory
from pylib.testing.processes import Program, run_program
from pylib.testing.rabbitmq import Vhost

pytestmark = pytest.mark.timeout(90)

BRIDGE = Path(__file__).resolve().parents[2] / "examples" / "bridge.py"
PATIENCE = 20.0


class Sender:
    """Publishes numbers at QoS 1."""

    def __init__(self, broker: Mosquitto) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self.sent = 0

    def send(self, count: int) -> None:
        infos = [self._client.publish("bench/one", b"%d" % (self.sent + n), qos=1) for n in range(count)]
        for info in infos:
            info.wait_for_publish(PATIENCE)
        self.sent += count

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def queue_on(rabbitmq: Vhost) -> None:
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.exchange_declare("bench", "topic", durable=True)
        channel.queue_declare("kept", durable=True)
        channel.queue_bind("kept", "bench", "#")


def delivered(rabbitmq: Vhost, count: int) -> list[int]:
    found: dict[int, None] = {}
    with closing(rabbitmq.connect()) as connection:
        for method, _, body in connection.channel().consume("kept", auto_ack=True, inactivity_timeout=PATIENCE):
            assert method is not None, f"{len(found)} of {count} come"
            found[int(body or b"-1")] = None
            if len(found) == count:
                break
    return list(found)


def bridge(*argv: str, env: dict[str, str] | None = None) -> Program:
    return run_program([*argv], env=env)


def test_with_no_descriptor_left_it_says_so_waits_and_comes_back(
    mosquitto: Mosquitto, rabbitmq: Vhost, fault_proxy_factory: FaultProxyFactory
) -> None:
    """The limit is set on the running process, so that the lost connection is one descriptor too many when made again."""
    queue_on(rabbitmq)
    proxy = fault_proxy_factory(rabbitmq.node.port)
    address = f"amqp://{rabbitmq.user}:{rabbitmq.password}@{proxy.address}/{rabbitmq.name}"
    with bridge(sys.executable, str(BRIDGE), str(mosquitto.port), address) as program:
        program.wait_for("ready", PATIENCE)
        sender = Sender(mosquitto)
        sender.send(10)
        prlimit(program.pid, first_free_without(program.pid, proxy.port))
        proxy.reset()
        sender.send(10)
        program.wait_for(r"[Tt]oo many open files", PATIENCE)
        assert program.running
        prlimit(program.pid, 1024)
        assert delivered(rabbitmq, 20) == list(range(20))
        before = len(os.listdir(f"/proc/{program.pid}/fd"))
        for _ in range(3):
            proxy.reset()
            sender.send(1)
        assert delivered(rabbitmq, 3) == [20, 21, 22]
        assert len(os.listdir(f"/proc/{program.pid}/fd")) <= before
        sender.close()
        assert program.stop() == 0


def first_free_without(pid: int, port: int) -> int:
    """The number that the next descriptor would get if the connection to this port were closed."""
    (lost,) = (each.fd for each in psutil.Process(pid).net_connections() if each.raddr[1:] == (port,))
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")} - {lost}
    return next(number for number in range(len(taken) + 1) if number not in taken)


def prlimit(pid: int, soft: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("jump", ["+10d", "-1h"])
def test_a_clock_that_jumps_costs_no_connection_and_no_storm(
    mosquitto: Mosquitto, rabbitmq: Vhost, tmp_path: Path, jump: str
) -> None:
    library = next((path for path in FAKETIME if path.exists()), None)
    if library is None:
        pytest.skip("libfaketime is not installed; the tests of the spool and the retry store move a clock of their own")
    queue_on(rabbitmq)
    stamp = tmp_path / "clock"
    stamp.write_text("+0\n")
    env = {
        "LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1",
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
    }  # fmt: skip
    with bridge(sys.executable, str(BRIDGE), str(mosquitto.port), rabbitmq.address, env=env) as program:
        program.wait_for("ready", PATIENCE)
        sender = Sender(mosquitto)
        sender.send(5)
        assert delivered(rabbitmq, 5) == list(range(5))
        before = cpu_seconds(program.pid)
        stamp.write_text(jump + "\n")
        sender.send(5)
        assert delivered(rabbitmq, 5) == list(range(5, 10))
        with pytest.raises(AssertionError, match="did not print"):
            program.wait_for("lost|expired|Traceback", 4.0)  # longer than a question of the watchdog
        assert cpu_seconds(program.pid) - before < 1.0, "the jump has set off a storm"
        sender.close()
        assert program.stop() == 0


FAKETIME = [Path(f"/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1") for machine in ("x86_64", "aarch64")]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("apart", [0.0, 0.1, 0.5])
def test_two_interrupts_end_it_at_once_and_leave_the_spool_whole(
    mosquitto: Mosquitto, rabbitmq: Vhost, tmp_path: Path, fault_proxy_factory: FaultProxyFactory, apart: float
) -> None:
    queue_on(rabbitmq)
    proxy = fault_proxy_factory(rabbitmq.node.port)
    address = f"amqp://{rabbitmq.user}:{rabbitmq.password}@{proxy.address}/{rabbitmq.name}"
    spool = tmp_path / "spool.db"
    argv = [sys.executable, str(BRIDGE), str(mosquitto.port), address, "--spool", str(spool)]
    with bridge(*argv) as program:
        program.wait_for("ready", PATIENCE)
        proxy.refuse()
        sender = Sender(mosquitto)
        sender.send(300)
        program.signal(signal.SIGINT)
        try:
            program.wait(apart)
        except AssertionError:
            program.signal(signal.SIGINT)
        program.wait(1.5)
    with closing(sqlite3.connect(spool)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    proxy.heal()
    with bridge(*argv) as program:
        program.wait_for("ready", PATIENCE)
        assert delivered(rabbitmq, 300) == list(range(300))
        sender.close()
        assert program.stop() == 0


def test_a_name_that_is_not_known_is_said_once_and_asked_for_again(rabbitmq: Vhost, tmp_path: Path) -> None:
    queue_on(rabbitmq)
    with bridge(sys.executable, str(BRIDGE), "mqtt://no-such-host.invalid:1883", rabbitmq.address) as program:
        program.wait_for("host name is not known", PATIENCE)
        with pytest.raises(AssertionError, match="did not print"):
            program.wait_for("Traceback", 1.5)
        assert program.output.count("host name is not known") == 1
        assert program.stop() in (0, 1)
