"""What may be shown, and what may leave the machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylib.config import AppConfig
from pylib.observe.scrub import MOST_TEXT, known_secrets, scrub, scrub_report

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"amqp://me:{SECRET}@rabbit/home",
        f"tgram://{SECRET}/12345",
        f"discord://4174216298/{SECRET}",
        f"mailtos://me:{SECRET}@gmail.com",
        f"GET https://hc-ping.com/{SECRET} failed",
        f"https://cronitor.link/p/{SECRET}/hub?state=complete",
        f"http://uptime.local/api/push/{SECRET}?status=up",
        f"https://hooks.slack.com/services/T0/B0/{SECRET}",
        f"https://api.telegram.org/bot{SECRET}/sendMessage",
        f"Authorization: Bearer {SECRET}",
        f"password={SECRET}",
        f'{{"api_key": "{SECRET}", "n": 1}}',
        f"the token: {SECRET}, and more",
        f"MQTT_PASSWORD={SECRET}",
    ],
)
def test_a_secret_is_in_no_line(text: str) -> None:
    assert SECRET not in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "RabbitMQ at 127.0.0.1:5672 does not answer",
        "inproc://app-worker is bound already",
        "a message on sensor/door/state was set aside: DecodeError",
        "listening at http://127.0.0.1:9100/metrics",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "Signal handlers are installed",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert scrub(text) == text


def test_a_report_has_no_body_and_no_known_secret_in_it() -> None:
    report = {
        "message": f"could not decode b'{SECRET}' and {{'door': '{SECRET}'}}",
        "extra": {"payload": SECRET, "topic": "sensor/door", "count": 3},
        "frames": [{"vars": {"x": SECRET}}, ("said " + SECRET,)],
        "raw": SECRET.encode(),
        "headers": {"Authorization": SECRET, "Cookie": SECRET},
    }
    clean = scrub_report(report, [SECRET])
    assert SECRET not in repr(clean)
    assert isinstance(clean, dict)
    assert clean["extra"]["topic"] == "sensor/door"
    assert clean["extra"]["count"] == 3


def test_what_nests_without_end_is_cut_off() -> None:
    deep: object = SECRET
    for _ in range(100):
        deep = [deep]
    assert len(repr(scrub_report(deep))) < 1000


@given(st.text(max_size=300))
def test_any_text_can_be_scrubbed_and_twice_is_once(text: str) -> None:
    once = scrub(text)
    assert scrub(once) == once


@pytest.mark.parametrize("piece", ["password=", "://", "{:", "b'", "bearer ", "eyJ", "a://b:c@", '"token": "'])
def test_scrubbing_takes_time_in_proportion_to_the_text(piece: str) -> None:
    text = piece * (MOST_TEXT // len(piece))
    began = time.process_time()
    for _ in range(5):
        scrub_report(text)
    assert time.process_time() - began < 1.0


def test_the_secrets_of_the_settings_are_known(tmp_path: Path) -> None:
    path = tmp_path / "app.conf"
    path.write_text("[sentry]\ndsn = https://abc@o1.ingest.sentry.io/2\n[observe]\nping_url = https://hc-ping.com/uuid\n"
                    "[notify:phone]\nurl = tgram://x/y\n[app]\nname = hub\n")  # fmt: skip
    found = known_secrets(AppConfig(path))
    assert set(found) == {"https://abc@o1.ingest.sentry.io/2", "https://hc-ping.com/uuid", "tgram://x/y"}
