"""The notifier, against a service on this machine: nothing is lost, nothing blocks, nobody is flooded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from pydantic import SecretStr

from event_processor.domain.events import Event
from event_processor.domain.outcome import Step
from event_processor.notify import pacing
from event_processor.notify.notes import Told
from event_processor.notify.notifier import Notifier
from event_processor.notify.targets import Target, read_quiet
from pylib.brokers.backoff import BackOff
from pylib.delivery.dead_letters import DeadLetters
from pylib.runtime.receipts import Receipt
from pylib.runtime.runtime import Runtime
from pylib.testing.clock import VirtualClock
from pylib.zmq import zmq_socket
from tests.unit.notify.service import NOW, PNG, Scripted, Service, step

# A package that one of Apprise's plug-ins looks for imports a module that newer Pythons no longer have.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def service() -> Iterator[Service]:
    with Service().running() as service:
        yield service


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are tried again within hundredths of a second."""
    monkeypatch.setattr(pacing, "BACK_OFF", BackOff(first=0.02, longest=0.05))


def phone(service: Service, **named: object) -> Target:
    return Target(**{"name": "Phone", "url": SecretStr(service.url), "rate_s": 0.0, **named})  # type: ignore[arg-type]


class Run:
    """A runtime with a notifier in it, and a pipe to it."""

    def __init__(self, folder: Path, target: Target, clock: VirtualClock | None = None, **named: object) -> None:
        self.runtime = Runtime() if clock is None else Runtime(clock=clock)
        self.told: list[Told] = []
        self.events: list[Event] = []
        self.settled = threading.Semaphore(0)
        self.failures: list[BaseException] = []
        self._changed = threading.Condition()
        with self.runtime.active():
            self.notifier = Notifier(
                [target], folder / "notify.db", dead_letters=folder / "delivery.db",
                on_told=self._hear, on_event=self._event, **named,  # type: ignore[arg-type]
            )  # fmt: skip
            self.notifier.start()
            self._push = zmq_socket(zmq.PUSH)
            self._push.connect("inproc://notify")

    def send(self, *steps: Step) -> None:
        """Send steps, each with a receipt, and wait until they are safe."""
        for each in steps:
            receipt = self.runtime.receipts.open(self._settled)
            self._push.send_enclosed(each, receipt)
        for _ in steps:
            assert self.settled.acquire(timeout=10)

    def look(self) -> None:
        """Have the loop look at its (virtual) clock: what was due is done on return. Before the clock is advanced too, since
        the loop may be in the middle of its last batch, with the old time in its hand."""
        loop, done = self.notifier.member.loop, threading.Event()
        assert loop is not None
        loop.post(done.set)
        assert done.wait(10)

    def calm(self, failures: int = 0) -> None:
        """Wait until nothing is under way, and so often has failed in a row."""
        lane, pause = self.notifier._lanes["phone"], threading.Event()
        for _ in range(4000):
            if not lane.sending and lane.failures == failures:
                return
            pause.wait(0.005)
        raise AssertionError(f"sending: {lane.sending}, failures: {lane.failures}")

    def until(self, reached: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(reached, 20)

    def statuses(self) -> list[str]:
        return [told.status for told in self.told]

    def stop(self) -> None:
        with self.runtime.active():
            self._push.close()
        self.runtime.trip()
        assert self.runtime.stop() == []

    def _settled(self, receipt: Receipt) -> None:
        if receipt.error is not None:
            self.failures.append(receipt.error)
        self.settled.release()

    def _hear(self, told: Told) -> None:
        with self._changed:
            self.told.append(told)
            self._changed.notify_all()

    def _event(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(target: Target, clock: VirtualClock | None = None, **named: object) -> Run:
        runs.append(Run(tmp_path, target, clock, **named))
        return runs[-1]

    yield make
    for run in runs:
        if not run.runtime.stopping:
            run.stop()


def test_a_step_is_told_with_its_pictures(service: Service, start: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "door.png").write_bytes(PNG + b"from a file")
    run = start(phone(service), images=tmp_path / "images", picture_of=lambda device, at: PNG + device.encode())
    run.send(step(1, "Somebody is at the door", images=["door.png", PNG + b"as bytes"], image=True))
    service.wait(sent=1)
    (sent,) = service.sent
    assert (sent.title, sent.text) == ("Alarm", "Somebody is at the door")
    assert sent.pictures == (PNG + b"from a file", PNG + b"as bytes", PNG + b"Front Door")
    run.until(lambda: run.statuses() == ["sent"])


def test_the_picture_is_that_of_the_camera_and_one_whose_file_is_gone_costs_no_notification(
    service: Service, start: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "there.png").write_bytes(PNG + b"taken by the camera")
    asked: list[tuple[str, float]] = []

    def latest(device: str, at: float) -> Path | None:
        asked.append((device, at))
        return {"Camera": tmp_path / "there.png", "Old Camera": tmp_path / "gone.png"}.get(device)

    run = start(phone(service), images=tmp_path / "images", picture_of=latest)
    run.send(step(1, "one", image=True, camera="Camera"))
    service.wait(sent=1)
    run.send(step(2, "two", image=True, camera="Old Camera"))
    service.wait(sent=2)
    run.send(step(3, "three", image=True))
    service.wait(sent=3)
    run.send(step(4, "four", image=False, camera="Camera"))
    service.wait(sent=4)
    assert asked == [("Camera", NOW), ("Old Camera", NOW), ("Front Door", NOW)]
    assert [sent.pictures for sent in service.sent] == [(PNG + b"taken by the camera",), (), (), ()]
    assert service.texts == ["one", "two\n(1 picture is missing)", "three", "four"]
    assert any("goes without a picture" in line for line in caplog.messages)


def test_a_rate_limit_loses_nothing_and_its_pause_is_kept(service: Service, start: Callable[..., Run]) -> None:
    # The original lost the message at "too many requests", and at every time-out.
    service.answers.extend([Scripted(429, {"Retry-After": "1"}), Scripted(429, body=b'{"parameters": {"retry_after": 1}}')])
    clock = VirtualClock(start=NOW)
    run = start(phone(service, tries=1), clock)
    run.send(step(1, "first"))
    for tried in (1, 2):
        service.wait(tried=tried)
        run.calm(failures=tried)
        run.send(step(tried + 1, "later"))
        for seconds in (0.9, 0.2):
            assert service.tried == tried
            run.look()
            clock.advance(seconds)
            run.look()
    service.wait(sent=1)
    assert service.texts == ["later (3 times)"]
    assert "failed" not in run.statuses()


def test_what_fails_is_tried_again_until_it_arrives(
    service: Service, start: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    service.answers.extend([Scripted(500), Scripted(503), Scripted(500)])
    run = start(phone(service))
    run.send(step(1, "at last"))
    service.wait(sent=1)
    assert (service.texts, service.tried) == (["at last"], 4)
    run.until(lambda: run.statuses() == ["sent"])
    assert run.told[0].attempts == 4
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "Phone could not be told" in warnings[0]
    assert "error=500" in warnings[0]


def test_after_the_last_try_it_is_a_dead_letter_and_can_be_replayed(
    service: Service, start: Callable[..., Run], tmp_path: Path
) -> None:
    service.answers.extend([Scripted(500)] * 3)
    run = start(phone(service, tries=3))
    run.send(step(1, "bad luck", images=[PNG]))
    run.until(lambda: len(run.events) == 1)
    assert run.statuses() == ["failed"]
    assert (run.events[0].device, run.events[0].active, run.events[0].source) == ("Notifications Phone", True, "hub")
    letters = DeadLetters(tmp_path / "delivery.db")
    (letter,) = letters.list()
    assert (letter.origin, letter.address, letter.message_id, letter.tries) == ("notify", "phone", "s1", 3)
    assert "error=500" in letter.error
    letters.replay(letter.ident)
    letters.close()
    service.wait(sent=1)
    assert service.sent[0].pictures == (PNG,)
    run.until(lambda: len(run.events) == 2)
    assert run.events[1].active is False


def test_a_repeated_step_is_told_once(service: Service, start: Callable[..., Run]) -> None:
    run = start(phone(service))
    run.send(step(1), step(1))
    service.wait(sent=1)
    run.send(step(1), step(2))
    service.wait(sent=2)
    assert service.texts == ["text 1", "text 2"]


def test_what_waits_is_told_as_one_with_the_latest_text_of_each_label(service: Service, start: Callable[..., Run]) -> None:
    gate = threading.Event()
    service.answers.append(Scripted(hold=gate))
    run = start(phone(service))
    run.send(step(1))
    service.wait(tried=1)
    run.send(*(step(n, label="Front Door" if n % 2 else "Garden") for n in range(2, 8)))
    gate.set()
    service.wait(sent=2)
    assert service.texts == ["text 1", "text 6 (3 times)\ntext 7 (3 times)"]


def test_the_eleventh_picture_goes_with_the_next_message(service: Service, start: Callable[..., Run]) -> None:
    # The original lost it.
    gate = threading.Event()
    service.answers.append(Scripted(hold=gate))
    run = start(phone(service))
    run.send(step(0))
    service.wait(tried=1)
    run.send(*(step(n, images=[PNG + bytes([n]), PNG + bytes([n, n])]) for n in range(1, 13)))
    gate.set()
    service.wait(sent=4)
    assert [len(sent.pictures) for sent in service.sent] == [0, 10, 10, 4]
    pictures = [picture for sent in service.sent for picture in sent.pictures]
    assert pictures == [PNG + bytes([n] * times) for n in range(1, 13) for times in (1, 2)]
    assert service.texts[1:] == ["text 12 (12 times)", "Front Door: more pictures", "Front Door: more pictures"]


def test_messages_keep_the_targets_rate(service: Service, start: Callable[..., Run]) -> None:
    clock = VirtualClock(start=NOW)
    run = start(phone(service, rate_s=12.0), clock)
    run.send(step(1))
    run.until(lambda: run.statuses() == ["sent"])
    run.send(step(2), step(3))
    run.look()
    clock.advance(11.9)
    run.send(step(4))
    run.look()
    assert service.tried == 1
    clock.advance(0.2)
    run.look()
    service.wait(sent=2)
    assert service.texts[1] == "text 4 (3 times)"


def test_the_quiet_time_defers_and_urgent_ones_pass(service: Service, start: Callable[..., Run]) -> None:
    # The original dropped them, and compared local hours with others. 21:13 in Johannesburg.
    clock = VirtualClock(start=NOW - NOW % 86_400 + 19 * 3600 + 13 * 60)
    quiet = read_quiet("21:00-07:00", "Africa/Johannesburg")
    run = start(phone(service, quiet=quiet, urgent=("Smoke*",)), clock)
    run.send(step(1, "the washing is done"), step(2, "fire", label="Smoke Kitchen"), step(3, "help", label="SOS", urgent=True))
    run.until(lambda: run.statuses().count("sent") == 2)
    assert sorted("\n".join(service.texts).splitlines()) == ["fire", "help"]
    assert run.statuses().count("deferred") == 1
    for number in range(20):  # the hub looks again from time to time, and finds it too early
        run.look()
        clock.advance(1700)
        run.look()
        run.send(step(100 + number, "the washing is done"))
    run.look()
    assert "the washing" not in "".join(service.texts)
    clock.advance(9 * 3600 + 47 * 60 - 20 * 1700 + 1)
    run.look()
    run.until(lambda: "sent" in [told.status for told in run.told if told.step == "s1"])
    assert "the washing is done (21 times)" in service.texts


def test_what_is_too_late_is_not_told(service: Service, start: Callable[..., Run]) -> None:
    clock = VirtualClock(start=NOW)
    run = start(phone(service, rate_s=100.0), clock)
    run.send(step(1))
    run.until(lambda: run.statuses() == ["sent"])
    run.send(step(2, "short-lived", life=50.0), step(3, "lasting", life=500.0))
    run.look()
    clock.advance(101)
    run.look()
    service.wait(sent=2)
    assert service.texts[1] == "lasting"
    run.until(lambda: "expired" in run.statuses())


def test_what_waits_survives_a_stop_and_a_stop_never_waits_for_a_service(service: Service, start: Callable[..., Run]) -> None:
    gate = threading.Event()
    service.answers.append(Scripted(hold=gate))
    run = start(phone(service))
    run.send(step(1))
    service.wait(tried=1)
    run.send(step(2, images=[PNG]))
    run.stop()  # which says that nothing was left behind, within its 0.7 s
    assert service.tried == 1
    run = start(phone(service))
    service.wait(sent=1)
    assert service.sent[0].pictures == (PNG,)
    assert service.texts == ["text 2 (2 times)"]
    gate.set()


def test_an_attempt_past_its_deadline_is_given_up_and_the_next_one_made(service: Service, start: Callable[..., Run]) -> None:
    gate = threading.Event()
    service.answers.append(Scripted(500, hold=gate))
    run = start(phone(service, deadline_s=0.2))
    run.send(step(1))
    service.wait(sent=1, tried=2)
    gate.set()
    assert service.texts == ["text 1"]


def test_a_step_for_nobody_fails_and_says_what_to_add(
    service: Service, start: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = start(phone(service))
    run.send(step(1, to="fax"))
    assert "add [notify:fax] (known: Phone)" in str(run.failures[0])
    run.send(Step(id="x", kind="control", rule="r", output="phone", address="a", body={}, at=NOW, expires_at=NOW))
    run.send(step(2, images=["../../etc/passwd"]))
    service.wait(sent=1)
    assert "(1 picture is missing)" in service.texts[0]
    assert len(run.failures) == 2


def test_no_secret_is_in_any_log(service: Service, start: Callable[..., Run], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service.answers.extend([Scripted(500)] * 2)
    target = phone(service, tries=2)
    run = start(target)
    run.send(step(1))
    run.until(lambda: bool(run.events))
    run.send(step(2))
    service.wait(sent=1)
    run.stop()
    assert "apprise" in {record.name for record in caplog.records}
    assert "urllib3.connectionpool" in {record.name for record in caplog.records}
    told = caplog.text + repr(target) + repr(run.told) + repr(run.events)
    for secret in ("s3cretpass", "hidden-path", "someone"):
        assert secret not in told
    assert not logging.getLogger("apprise").filters
