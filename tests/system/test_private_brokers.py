"""The private brokers of the test kit start, answer, restart, are killed, and leave nothing behind."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import paho.mqtt.client as paho
import pika
import pika.exceptions
import pytest
from paho.mqtt.enums import CallbackAPIVersion

import pylib.testing
from pylib.testing.certificates import CertificateAuthority
from pylib.testing.child import BrokerFailed
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import MosquittoFactory, RabbitMQFactory
from pylib.testing.ports import answers
from pylib.testing.processes import run_program
from pylib.testing.rabbitmq import RabbitMQ, Vhost

pytestmark = pytest.mark.timeout(120)


def processes_in(folder: Path) -> list[str]:
    """Command lines of live processes (zombies aside) that name ``folder`` in their arguments or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in command + environment:
                found.append(f"{entry.name} {command!r}")
    return found


def publish(broker: Mosquitto, *extra: str, user: str | None = None, password: str | None = None) -> int:
    login = ["-u", user, "-P", password or ""] if user else []
    command = [
        "mosquitto_pub",
        "-h",
        broker.host,
        "-p",
        str(broker.port),
        "-t",
        "a/b",
        "-m",
        "hello",
        "-q",
        "1",
        *login,
    ]
    return subprocess.run([*command, *extra], capture_output=True, timeout=20).returncode


def test_a_message_goes_through_a_private_mosquitto(mosquitto: Mosquitto) -> None:
    arrived: list[bytes] = []
    subscribed, received = threading.Event(), threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_subscribe = lambda *_: subscribed.set()

    def on_message(_client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        arrived.append(bytes(message.payload))
        received.set()

    client.on_message = on_message
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    try:
        client.subscribe("a/#", qos=1)
        assert subscribed.wait(5)
        assert publish(mosquitto) == 0
        assert received.wait(5)
    finally:
        client.disconnect()
        client.loop_stop()
    assert arrived == [b"hello"]


def test_two_mosquittos_run_side_by_side(mosquitto_factory: MosquittoFactory) -> None:
    one, two = mosquitto_factory(), mosquitto_factory()
    assert one.port != two.port
    assert publish(one) == 0
    assert publish(two) == 0


def test_a_mosquitto_with_users_refuses_a_wrong_password_and_nobody(mosquitto_factory: MosquittoFactory) -> None:
    broker = mosquitto_factory(users={"door": "s3cret"})
    assert publish(broker, user="door", password="s3cret") == 0
    assert publish(broker, user="door", password="wrong") != 0
    assert publish(broker) != 0


def test_an_access_list_keeps_a_user_out_of_a_topic(mosquitto_factory: MosquittoFactory) -> None:
    broker = mosquitto_factory(users={"door": "s3cret"}, acl=["user door", "topic read a/#"])
    # MQTT 5 tells the publisher of a refusal, which 3.1.1 cannot.
    done = subprocess.run(
        ["mosquitto_pub", "-V", "5", "-h", broker.host, "-p", str(broker.port), "-u", "door", "-P", "s3cret",
         "-t", "a/b", "-m", "x", "-q", "1"], capture_output=True, text=True, timeout=20)  # fmt: skip
    assert "Not authorized" in done.stderr


def test_a_retained_message_survives_a_restart_only_with_persistence(mosquitto_factory: MosquittoFactory) -> None:
    for persistent in (True, False):
        broker = mosquitto_factory(persistence=persistent)
        assert publish(broker, "-r") == 0
        broker.restart()
        got = subprocess.run(
            ["mosquitto_sub", "-h", broker.host, "-p", str(broker.port), "-t", "a/b", "-C", "1", "-W", "1"],
            capture_output=True, timeout=20)  # fmt: skip
        assert got.stdout == (b"hello\n" if persistent else b"")


def test_a_killed_mosquitto_is_gone_and_comes_back_on_the_same_port(mosquitto: Mosquitto) -> None:
    assert mosquitto.kill() == -9
    assert not answers(mosquitto.port)
    mosquitto.start()
    assert publish(mosquitto) == 0


def test_a_paused_mosquitto_accepts_but_does_not_answer_until_it_is_resumed(mosquitto: Mosquitto) -> None:
    mosquitto.pause()
    command = ["mosquitto_pub", "-h", mosquitto.host, "-p", str(mosquitto.port), "-t", "a", "-m", "x"]
    with subprocess.Popen(command) as client:
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(0.3)
        mosquitto.resume()
        assert client.wait(10) == 0


def test_a_mosquitto_that_cannot_start_says_why() -> None:
    broker = Mosquitto(extra=["no_such_option 1"])
    try:
        with pytest.raises(BrokerFailed, match="no_such_option"):
            broker.start()
    finally:
        broker.close()


def test_a_closed_mosquitto_leaves_no_process_and_no_folder() -> None:
    with Mosquitto() as broker:
        assert processes_in(broker.folder)
    assert processes_in(broker.folder) == []
    assert not broker.folder.exists()


KILLED_RUN = """
import os, sys
from pylib.testing.mosquitto import Mosquitto
broker = Mosquitto()
broker.start()
print(broker.pid, broker.folder, flush=True)
os._exit(3)
"""


def test_a_test_run_that_ends_without_clean_up_leaves_no_broker_and_no_folder() -> None:
    source = Path(pylib.testing.__file__).parents[2]
    with run_program([sys.executable, "-c", KILLED_RUN], env={"PYTHONPATH": str(source)}) as run:
        folder = Path(run.wait_for(r"^\d+ (.*)").group(1))
        assert run.wait() == 3
    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert not folder.exists()
    assert processes_in(folder) == []


@pytest.mark.leak_check
def test_a_mosquitto_with_tls_wants_a_client_certificate_of_our_own_authority(
    mosquitto_factory: MosquittoFactory, certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    broker = mosquitto_factory(tls=certificate_authority.server_tls(require_certificate=True))
    ours, theirs = certificate_authority.client(), CertificateAuthority(tmp_path).client()
    for client, works in ((ours, True), (theirs, False)):
        keys = ["--cafile", str(certificate_authority.ca), "--cert", str(client.certificate), "--key", str(client.key)]
        assert (publish(broker, *keys) == 0) == works
    assert publish(broker, "--cafile", str(certificate_authority.ca)) != 0
    assert publish(broker) != 0


def test_a_node_with_tls_is_reached_by_those_who_trust_it(
    rabbitmq_factory: RabbitMQFactory, certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    node = rabbitmq_factory(tls=certificate_authority.server_tls(), heartbeat=7)
    assert node.tls_port is not None
    parameters = pika.URLParameters(node.url("guest", "guest", "/", tls=True))
    parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=certificate_authority.ca), "localhost")
    with closing(pika.BlockingConnection(parameters)) as connection:
        connection.channel().queue_declare("secret", exclusive=True)
    stranger = ssl.create_default_context(cafile=CertificateAuthority(tmp_path).ca)
    parameters.ssl_options = pika.SSLOptions(stranger, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        pika.BlockingConnection(parameters)


def test_a_message_goes_through_a_virtual_host_of_ones_own(rabbitmq: Vhost) -> None:
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.queue_declare("doors")
        channel.confirm_delivery()
        channel.basic_publish("", "doors", b"open", mandatory=True)
        assert channel.basic_get("doors", auto_ack=True)[2] == b"open"


@pytest.mark.parametrize("turn", [1, 2])
def test_two_tests_do_not_see_each_others_queues(rabbitmq: Vhost, turn: int) -> None:
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
            channel.queue_declare("mine", passive=True)
        connection.channel().queue_declare("mine", durable=True)


def test_the_user_of_a_virtual_host_cannot_enter_another(rabbitmq: Vhost, rabbitmq_node: RabbitMQ) -> None:
    other = rabbitmq_node.url(rabbitmq.user, rabbitmq.password, "/")
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError):
        pika.BlockingConnection(pika.URLParameters(other))


def test_the_node_closes_all_connections_on_request(rabbitmq: Vhost, rabbitmq_node: RabbitMQ) -> None:
    connection = rabbitmq.connect()
    rabbitmq_node.close_all_connections("maintenance")
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="maintenance"):
        connection.channel()


def test_the_node_blocks_a_publisher_under_a_memory_alarm(rabbitmq: Vhost, rabbitmq_node: RabbitMQ) -> None:
    with closing(rabbitmq.connect()) as connection:
        told: list[str] = []
        connection.add_on_connection_blocked_callback(lambda *_: told.append("blocked"))
        connection.add_on_connection_unblocked_callback(lambda *_: told.append("unblocked"))
        channel = connection.channel()
        try:
            rabbitmq_node.set_vm_memory_high_watermark(0)
            channel.basic_publish("", "nobody", b"x")
            for _ in range(100):
                connection.process_data_events(0.1)
                if told:
                    break
        finally:
            rabbitmq_node.set_vm_memory_high_watermark(0.4)
        for _ in range(100):
            connection.process_data_events(0.1)
            if len(told) == 2:
                break
        assert told == ["blocked", "unblocked"]


def test_rabbitmqctl_reaches_the_private_node(rabbitmq: Vhost, rabbitmq_node: RabbitMQ) -> None:
    assert rabbitmq.name in rabbitmq_node.ctl("list_vhosts")
    with pytest.raises(BrokerFailed, match="delete_vhost"):
        rabbitmq_node.ctl("delete_vhost", "no-such-host")


def test_a_private_node_is_killed_restarted_and_leaves_nothing_behind(rabbitmq_factory: RabbitMQFactory) -> None:
    node = rabbitmq_factory(plugins=["rabbitmq_mqtt"])
    vhost = node.fresh_vhost()
    with closing(vhost.connect()) as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", "kept", b"x", pika.BasicProperties(delivery_mode=2), mandatory=True)
    assert node.mqtt_port is not None
    assert answers(node.mqtt_port)
    assert node.kill() == -9
    assert not answers(node.port)
    node.start()
    with closing(vhost.connect()) as connection:
        assert connection.channel().basic_get("kept")[2] == b"x"
    assert node.stop() == 0
    # The port mapper is the one process that is left now, and it goes with the node's folder.
    assert len(processes_in(node.folder)) == 1
    node.close()
    assert processes_in(node.folder) == []
    assert not node.folder.exists()


def test_a_node_that_cannot_start_says_why() -> None:
    node = RabbitMQ(config=["no_such_option = 1"])
    try:
        with pytest.raises(BrokerFailed, match="no_such_option"):
            node.start()
    finally:
        node.close()
    assert processes_in(node.folder) == []
