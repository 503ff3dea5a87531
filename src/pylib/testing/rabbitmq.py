"""A private RabbitMQ node: its own name, folder, ports, cookie and port mapper, ended by its own process ids.

The server script is called directly, not through Debian's wrapper: the wrapper switches to the user ``rabbitmq``,
writes into the system's folders and refuses every other user. With ``HOME`` and all the ``RABBITMQ_*`` folders pointing
into a folder of ours the node runs as whoever runs the tests, root or not, and its process id is the id of our child.

Erlang's port mapper (``epmd``) is normally one shared daemon per machine that outlives the nodes that started it. Here
each node has one of its own, on its own port and in the foreground, ended with the node: nothing is left behind, and
two test runs on one machine cannot meet.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from pylib.testing.child import BrokerFailed, ChildProcess
from pylib.testing.erlang import binary, find_epmd, find_erl_call, find_rabbitmq, run_tool
from pylib.testing.ports import LOOPBACK, amqp_answers, answers, free_port
from pylib.testing.private import PrivateBroker, ServerTls

if TYPE_CHECKING:
    import pika

_START_SECONDS = 60.0
# One scheduler starts a node in 3.7 s instead of 5.3 s on two cores and leaves the other core to the tests.
_ERLANG_ARGUMENTS = "+S 1:1 +SDio 1 -kernel inet_dist_use_interface {127,0,0,1}"
# Answers look-ups of "localhost" inside the node: no helper processes, no name server.
_NAMES = '{lookup, [file]}.\n{host, {127,0,0,1}, ["localhost"]}.\n'


@dataclass(frozen=True, slots=True)
class ErlangNetwork:
    """What the nodes of a cluster have in common, and a node's name in it; whoever makes it runs the port mapper."""

    node_name: str
    cookie: str
    epmd_port: int


@dataclass(frozen=True, slots=True)
class Vhost:
    """A virtual host of its own on a private node, with a user that may do everything in it."""

    node: RabbitMQ
    name: str
    user: str
    password: str

    @property
    def address(self) -> str:
        """``amqp://user:password@host:port/vhost``."""
        return self.node.url(self.user, self.password, self.name)

    @property
    def url(self) -> str:
        """The same as ``address``."""
        return self.address

    @property
    def host(self) -> str:
        return self.node.host

    @property
    def port(self) -> int:
        return self.node.port

    @property
    def tls_address(self) -> str:
        """``amqps://user:password@localhost:port/vhost``; raises BrokerFailed when the node serves no TLS."""
        return self.node.url(self.user, self.password, self.name, tls=True)

    def connect(self) -> pika.BlockingConnection:
        """Return a new connection to this virtual host; the caller closes it."""
        import pika  # only tests that ask for it pay for it

        return pika.BlockingConnection(pika.URLParameters(self.address))


class RabbitMQ(PrivateBroker):
    """A RabbitMQ node of one test run. Start and stop it from one thread.

    Parameters: ``plugins`` are enabled at start (``rabbitmq_mqtt`` listens on ``mqtt_port``); ``tls`` opens a second
    listener, ``tls_port``; ``heartbeat`` is the interval in seconds the server proposes; ``loopback_users`` False lets
    ``guest`` in from everywhere; ``config`` holds further lines of ``rabbitmq.conf``, ``advanced`` the text of an
    ``advanced.config``. A listing whose client knows port 5672 alone is served by a ``host`` of its own in 127.0.0.0/8
    together with ``port=5672``. ``network`` makes it a node that can join a cluster (see ``pylib.testing.cluster``).

    The constructor raises BrokerFailed when RabbitMQ is not installed. ``start()`` returns when AMQP is served.
    """

    name = "RabbitMQ"
    _stop_seconds = 20.0

    def __init__(
        self,
        *,
        host: str = LOOPBACK,
        port: int | None = None,
        plugins: Sequence[str] = (),
        tls: ServerTls | None = None,
        heartbeat: int | None = None,
        loopback_users: bool = True,
        config: Sequence[str] = (),
        advanced: str | None = None,
        network: ErlangNetwork | None = None,
    ) -> None:
        self._commands = find_rabbitmq()
        super().__init__(host, port)
        self.tls = tls
        self.tls_port = free_port(host) if tls is not None else None
        self.mqtt_port = free_port(host) if "rabbitmq_mqtt" in plugins else None
        self.node_name = network.node_name if network else f"pylib-test-{secrets.token_hex(4)}@localhost"
        self._cookie = network.cookie if network else secrets.token_hex(20).upper()
        self._own_epmd = network is None
        self._epmd_port = network.epmd_port if network else free_port()
        self._made = 0
        self._write(".erlang.cookie", self._cookie, mode=0o400)
        self._write("inetrc", _NAMES)
        self._write("enabled_plugins", f"[{','.join(plugins)}].\n")
        self._write("environment.conf", "")
        self._write("rabbitmq.conf", "\n".join([*self._config(heartbeat, loopback_users), *config]) + "\n")
        if advanced is not None:
            self._write("advanced.config", advanced)
        self._env = self._environment()
        log = self.folder / "console.log"
        self._epmd = ChildProcess(
            [find_epmd(), "-port", str(self._epmd_port), "-address", LOOPBACK],
            folder=self.folder, log_path=self.folder / "epmd.log", env=self._env,
        )  # fmt: skip
        self._child = ChildProcess([str(self._commands / "rabbitmq-server")], folder=self.folder, log_path=log, env=self._env)

    @property
    def address(self) -> str:
        """``amqp://guest:guest@host:port/``: the default virtual host as the default user."""
        return self.url("guest", "guest", "/")

    def url(self, user: str, password: str, vhost: str, *, tls: bool = False) -> str:
        """Return the address of a virtual host; raises BrokerFailed when TLS is asked for and not served."""
        if tls and self.tls_port is None:
            raise BrokerFailed("This private RabbitMQ serves no TLS; give it `tls=`.")
        place = f"localhost:{self.tls_port}" if tls else f"{self.host}:{self.port}"
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"{'amqps' if tls else 'amqp'}://{login}@{place}/{quote(vhost, safe='')}"

    def log_text(self) -> str:
        """The console output and the node's log files, over all its runs."""
        parts = [self._child.log_text()]
        parts += [path.read_text(errors="replace") for path in sorted((self.folder / "log").glob("*.log"))]
        return "\n".join(parts)

    def stop(self) -> int | None:
        """Stop it gracefully (SIGTERM): clients are told, queues are written. Returns the exit code."""
        return self.terminate()

    def close(self) -> None:
        """Kill what still runs, the port mapper included, and remove the folder. May be called twice."""
        self._child.kill()
        self._epmd.kill()
        super().close()

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` against this node and return what it printed; raises BrokerFailed when it fails."""
        command = [str(self._commands / "rabbitmqctl"), "-q", "-n", self.node_name, *arguments]
        return run_tool(command, self._env, self.folder, f"rabbitmqctl {' '.join(arguments[:1])}")

    def evaluate(self, expression: str) -> str:
        """Evaluate Erlang in the node, without the final stop, and return the result as printed.

        Uses ``erl_call`` where it is installed (20 ms), otherwise ``rabbitmqctl eval`` (about a second). Raises
        BrokerFailed when the node cannot be reached or the expression fails.
        """
        erl_call = find_erl_call()
        if erl_call is None:
            return self.ctl("eval", f"{expression}.")
        command = [erl_call, "-sname", self.node_name, "-c", self._cookie, "-e"]
        answer = run_tool(command, self._env, self.folder, "Erlang call", text=f"{expression}.\n")
        if not answer.startswith("{ok, "):
            raise BrokerFailed(f"The private RabbitMQ refused {expression}: {answer}")
        return answer[len("{ok, ") : -1]

    def add_vhost(self, name: str) -> None:
        """Make a virtual host; does nothing when it exists."""
        self.evaluate(f"ok = rabbit_vhost:add({binary(name)}, {binary('pylib-test')})")

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host with everything in it; its connections are closed by the node."""
        self.evaluate(f"ok = rabbit_vhost:delete({binary(name)}, {binary('pylib-test')})")

    def add_user(self, name: str, password: str) -> None:
        """Make a user without any permission yet."""
        self.evaluate(f"ok = rabbit_auth_backend_internal:add_user({binary(name)}, {binary(password)}, <<>>)")

    def delete_user(self, name: str) -> None:
        """Remove a user with its permissions."""
        self.evaluate(f"ok = rabbit_auth_backend_internal:delete_user({binary(name)}, <<>>)")

    def set_permissions(self, user: str, vhost: str = "/", configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        """Allow ``user`` what the three patterns match in ``vhost``."""
        patterns = ", ".join(binary(pattern) for pattern in (configure, write, read))
        call = f"rabbit_auth_backend_internal:set_permissions({binary(user)}, {binary(vhost)}, {patterns}, <<>>)"
        self.evaluate(f"ok = {call}")

    def fresh_vhost(self) -> Vhost:
        """Make a virtual host and a user for it, both with names not used before on this node."""
        self._made += 1
        vhost = Vhost(self, f"test-{self._made}", f"tester-{self._made}", secrets.token_hex(8))
        self.add_vhost(vhost.name)
        self.add_user(vhost.user, vhost.password)
        self.set_permissions(vhost.user, vhost.name)
        return vhost

    def close_all_connections(self, reason: str = "closed by the test") -> None:
        """Close every client's connection from the server's side, with ``reason`` in the close frame."""
        self.evaluate(f'[rabbit_networking:close_connection(P, "{reason}") || P <- rabbit_networking:connections()], ok')

    def set_vm_memory_high_watermark(self, fraction: float) -> None:
        """Set the share of memory past which publishers are blocked; 0 blocks them at once."""
        self.evaluate(f"ok = vm_memory_monitor:set_vm_memory_high_watermark({float(fraction)!r})")

    def _before_start(self) -> None:
        if self._own_epmd and self._epmd.pid is None:
            self._epmd.start()
            self._epmd.wait_until(lambda: answers(self._epmd_port), timeout=_START_SECONDS, what="Erlang's port mapper")

    def _wait_until_served(self) -> None:
        self._child.wait_until(
            self._serves, timeout=_START_SECONDS, what="The private RabbitMQ", step=0.02, explain=self._first_errors
        )

    def _serves(self) -> bool:
        if not amqp_answers(self.port, self.host, 1.0):
            return False
        others = [port for port in (self.tls_port, self.mqtt_port) if port is not None]
        return all(answers(port, self.host, 0.5) for port in others)

    def _first_errors(self) -> str:
        """The first errors of the log: the reason comes first, pages of Erlang's crash report follow it."""
        lines = self.log_text().splitlines()
        errors = [line for line in lines if "[error]" in line or "BOOT FAILED" in line or "rror:" in line]
        return "\n".join(errors[:20] or lines[-20:])

    def _config(self, heartbeat: int | None, loopback_users: bool) -> list[str]:
        lines = [
            f"listeners.tcp.1 = {self.host}:{self.port}",
            # A nearly full disk of the machine that tests should not look like a fault of the program under test.
            "disk_free_limit.absolute = 1MB",
            f"loopback_users.guest = {'true' if loopback_users else 'false'}",
        ]
        if heartbeat is not None:
            lines.append(f"heartbeat = {heartbeat}")
        if self.mqtt_port is not None:
            lines.append(f"mqtt.listeners.tcp.1 = {self.host}:{self.mqtt_port}")
        if self.tls is not None:
            lines += [
                f"listeners.ssl.1 = {self.host}:{self.tls_port}",
                f"ssl_options.cacertfile = {self.tls.ca}",
                f"ssl_options.certfile = {self.tls.certificate}",
                f"ssl_options.keyfile = {self.tls.key}",
                f"ssl_options.verify = {'verify_peer' if self.tls.require_certificate else 'verify_none'}",
                f"ssl_options.fail_if_no_peer_cert = {'true' if self.tls.require_certificate else 'false'}",
            ]
        return lines

    def _environment(self) -> Mapping[str, str]:
        # Nothing of the caller's RabbitMQ or Erlang settings may reach the private node.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_", "NOTIFY_SOCKET"))}
        return kept | {
            "HOME": str(self.folder),
            # Makes the start script replace itself by the node, so that our child is the node and not a shell.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_INETRC": str(self.folder / "inetrc"),
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "environment.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(self.folder / "schema"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.folder / "feature_flags"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
        }
