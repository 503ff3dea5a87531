"""What the library costs on top of ZeroMQ: sockets, messages, a trip of the latch, a post. Takes no arguments."""

from __future__ import annotations

import inspect
import statistics
import threading
import time
from collections.abc import Callable

import zmq

from pylib.runtime.latch import Latch, StopCause
from pylib.runtime.loop import Loop
from pylib.runtime.receipts import handling, settle
from pylib.runtime.runtime import Runtime
from pylib.zmq import zmq_socket

ROUNDS = 5
SOCKETS = 300
MESSAGES = 20_000
BATCH = 500  # below the high-water mark: nobody waits in these


def best(call: Callable[[], int]) -> float:
    """Microseconds per operation: the median of some rounds, each of which says how many operations it made."""
    figures = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        count = call()
        figures.append((time.perf_counter() - begun) / count * 1e6)
    return statistics.median(figures)


def line(what: str, ours: float, raw: float | None = None, other: float | None = None, name: str = "") -> None:
    text = f"{what:<44} ours {ours:9.2f} us"
    if raw is not None:
        text += f"   raw {raw:9.2f} us   {ours / raw:5.2f} x"
    if other is not None:
        text += f"   {name} {other:9.2f} us"
    print(text)


def opening(runtime: Runtime) -> None:
    context = runtime.context

    def ours() -> int:
        for _ in range(SOCKETS):
            zmq_socket(zmq.PUSH).close()
        return SOCKETS

    def raw() -> int:
        for _ in range(SOCKETS):
            context.socket(zmq.PUSH).close(0)
        return SOCKETS

    def with_stack() -> int:
        for _ in range(SOCKETS):
            inspect.stack()
            context.socket(zmq.PUSH).close(0)
        return SOCKETS

    line("open and close a socket", best(ours), best(raw), best(with_stack), "with inspect.stack()")


def messages(runtime: Runtime) -> None:
    def pair(ours: bool, name: str) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        make = zmq_socket if ours else runtime.context.socket
        pull, push = make(zmq.PULL), make(zmq.PUSH)
        pull.bind(f"inproc://{name}")
        push.connect(f"inproc://{name}")
        return push, pull

    def carry(push: zmq.Socket[bytes], pull: zmq.Socket[bytes], message: object) -> Callable[[], int]:
        def run() -> int:
            for _ in range(MESSAGES // BATCH):
                for _ in range(BATCH):
                    push.send_pyobj(message)
                for _ in range(BATCH):
                    pull.recv_pyobj()
            return MESSAGES

        return run

    message = {"device": "door", "state": "open", "time": 1_700_000_000.0}
    ours, raw = pair(True, "ours"), pair(False, "raw")
    raw_cost = best(carry(*raw, message))
    line("send and receive a message, no receipt", best(carry(*ours, message)), raw_cost)

    def with_receipts() -> int:
        push, pull = ours
        for _ in range(MESSAGES // BATCH):
            for _ in range(BATCH):
                with handling((runtime.receipts.open(lambda receipt: None),)):
                    push.send_pyobj(message)
            for _ in range(BATCH):
                pull.recv_pyobj()
        settle()
        return MESSAGES

    line("send and receive a message with its receipt", best(with_receipts), raw_cost)
    for socket in raw:
        socket.close(0)


def tripping() -> None:
    def trips() -> int:
        for _ in range(200):
            Latch().trip(StopCause("benchmark"))
        return 200

    line("make and trip a latch", best(trips))
    latencies = []
    for _ in range(200):
        latch, woken, ready = Latch(), [0.0], threading.Event()

        def wait(latch: Latch = latch, woken: list[float] = woken, ready: threading.Event = ready) -> None:
            ready.set()
            latch.wait(5)
            woken[0] = time.perf_counter()

        thread = threading.Thread(target=wait)
        thread.start()
        ready.wait()
        begun = time.perf_counter()
        latch.trip(StopCause("benchmark"))
        thread.join()
        latencies.append((woken[0] - begun) * 1e6)
    line("trip a latch until the sleeper is awake (p50)", statistics.median(latencies))


def posting() -> None:
    loop = Loop()
    thread = threading.Thread(target=loop.run)
    thread.start()

    def posts() -> int:
        done = threading.Event()
        for _ in range(MESSAGES):
            loop.post(int)
        loop.post(done.set)
        done.wait()
        return MESSAGES + 1

    def round_trip() -> int:
        for _ in range(500):
            done = threading.Event()
            loop.post(done.set)
            done.wait()
        return 500

    line("post a call, many at a time", best(posts))
    line("post a call and wait until it was made", best(round_trip))
    loop.stop()
    thread.join()
    loop.close()


def main() -> None:
    runtime = Runtime()
    with runtime.active():
        opening(runtime)
        messages(runtime)
        tripping()
        posting()
        runtime.stop()


if __name__ == "__main__":
    main()
