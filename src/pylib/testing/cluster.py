"""A private RabbitMQ cluster on one machine: nodes ``a@localhost``, ``b@localhost`` ..., each with its own ports and folder.

The nodes of a cluster share what single private nodes keep to themselves: the cookie, and one port mapper (``epmd``), started
with the cluster and ended with it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from pylib.testing.child import ChildProcess
from pylib.testing.erlang import find_epmd
from pylib.testing.ports import LOOPBACK, answers, free_port
from pylib.testing.rabbitmq import ErlangNetwork, RabbitMQ

_START_SECONDS = 60.0


class RabbitCluster:
    """So many RabbitMQ nodes joined into one cluster. Start and stop it, and its nodes, from one thread.

    ``config`` holds further lines of every node's ``rabbitmq.conf``. The constructor raises BrokerFailed when RabbitMQ is not
    installed; ``start()`` returns when all nodes serve AMQP as one cluster, some ten seconds for each node.
    """

    def __init__(self, size: int = 3, *, config: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pylib-cluster-"))
        port = free_port()
        self._epmd_port = port
        self._epmd = ChildProcess(
            [find_epmd(), "-port", str(port), "-address", LOOPBACK],
            folder=self.folder,
            log_path=self.folder / "epmd.log",
            env=os.environ,
        )
        cookie = secrets.token_hex(20).upper()
        names = [f"{chr(ord('a') + n)}@localhost" for n in range(size)]
        self.nodes = [RabbitMQ(network=ErlangNetwork(name, cookie, port), config=config) for name in names]

    @property
    def addresses(self) -> list[str]:
        """The nodes' AMQP addresses, as ``guest``."""
        return [node.address for node in self.nodes]

    def start(self) -> Self:
        """Start all nodes and join the later ones to the first; raises BrokerFailed with the reason."""
        self._epmd.start()
        self._epmd.wait_until(lambda: answers(self._epmd_port), timeout=_START_SECONDS, what="Erlang's port mapper")
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(RabbitMQ.start, self.nodes))
        for node in self.nodes[1:]:
            # What `rabbitmqctl stop_app`, `join_cluster` and `start_app` do, without a second for the start of each.
            join = f"rabbit_mnesia:join_cluster('{self.nodes[0].node_name}', disc)"
            node.evaluate(f"ok = rabbit:stop(), ok = {join}, ok = rabbit:start()")
        return self

    def close(self) -> None:
        """Kill what still runs and remove all folders. May be called twice."""
        for node in self.nodes:
            node.close()
        self._epmd.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
