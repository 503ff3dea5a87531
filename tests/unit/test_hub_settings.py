"""The hub's settings are read as a whole; what is wrong is named by file, section and option."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from event_processor.domain.policy import MeterLimits
from event_processor.settings import HubSettings, load
from pylib.config import AppConfig
from pylib.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "examples" / "app.conf"
LEAST = "[rabbitmq]\nserver_address = localhost\nmq_exchange = home\n[mqtt]\nserver_address = localhost\n"


def _load(folder: Path, text: str, **environ: str) -> HubSettings:
    path = folder / "app.conf"
    path.write_text(text, encoding="utf-8")
    return load(AppConfig(path, environ=environ))


def test_the_example_is_understood_as_its_comments_say() -> None:
    settings = load(AppConfig(EXAMPLE, environ={"DEVICE_NAME": "attic"}))
    assert settings.rabbitmq.control_exchange == "home_automation_control"
    assert settings.client_id == "event-processor-attic"
    assert settings.subscriptions[:2] == ("sensor/#", "meter/#")
    assert "zigbee2mqtt/+/motion" in settings.subscriptions
    assert settings.policy.meters == {"water meter": MeterLimits(high=20, of_minute=True)}
    siren, lamp = settings.policy.links.by_device["front door"]
    assert (siren.type, siren.topic, lamp.topic, lamp.payload) == ("siren", "", "cmnd/lamp/POWER", "ON")
    assert set(settings.policy.links.by_type) == {"motion"}


def test_the_seeds_options_alone_are_enough(tmp_path: Path) -> None:
    settings = _load(tmp_path, LEAST)
    assert (settings.house.max_event_age_s, settings.policy.control_expiry_s) == (120, 90)
    assert settings.mappings == ()


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = _load(tmp_path, LEAST, RABBITMQ_SERVER_ADDRESS="other:5673", HUB_MAX_EVENT_AGE_S="7")
    assert settings.rabbitmq.addresses == ("other:5673",)
    assert settings.policy.max_event_age_s == 7


@pytest.mark.parametrize(
    ("written", "addresses"),
    [
        ("a, b:1,c", ("a", "b:1", "c")),
        ("mqtt://u:p%,w@a, mqtts://u:p,@b", ("mqtt://u:p%,w@a", "mqtts://u:p,@b")),
        ("mqtt://a,mqtt://b", ("mqtt://a", "mqtt://b")),
        ("\n  a\n  b", ("a", "b")),
    ],
)
def test_a_list_of_addresses_leaves_passwords_whole(tmp_path: Path, written: str, addresses: tuple[str, ...]) -> None:
    text = LEAST.replace("[mqtt]\nserver_address = localhost", f"[mqtt]\nserver_address = {written}")
    assert _load(tmp_path, text).mqtt.addresses == addresses


def test_no_representation_shows_a_password(tmp_path: Path) -> None:
    settings = _load(tmp_path, LEAST.replace("localhost", "amqp://u:hunter2@h"))
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.rabbitmq)


@pytest.mark.parametrize(
    ("change", "section", "option", "message"),
    [
        (("mq_exchange = home\n", ""), "rabbitmq", "mq_exchange", "is missing"),
        (("mq_exchange = home", "mq_exchange = a b"), "rabbitmq", "mq_exchange", "a b"),
        (("[mqtt]\nserver_address = localhost", "[mqtt]"), "mqtt", "server_address", "is missing"),
        (("", "tls_ca = /nowhere.pem\n"), "mqtt", "tls_ca", "file"),
        (("", "subscribe = sensor/#/x\n"), "mqtt", "subscribe", "'sensor/#/x'"),
        (("", "[hub]\nmax_event_age_s = soon\n"), "hub", "max_event_age_s", "soon"),
        (("", "[hub]\nmax_event_age = 3\n"), "hub", "max_event_age", "not an option"),
        (("", "[hub]\ncontrol_expiry_s = 0\n"), "hub", "control_expiry_s", "greater than 0"),
        (("", "[hub]\nkeep_mib = inf\n"), "hub", "keep_mib", "finite number"),
        (("", "[links]\nDoor = a b\n"), "links", "Door", "'a b' is no output"),
        (("", "[type_links]\nmotion =\n"), "type_links", "motion", "at least one output"),
        (("", "[output:lamp]\npayload = ON\n"), "output:lamp", "topic", "needs the MQTT topic"),
        (("", "[output:lamp]\ntopic = a/#\n"), "output:lamp", "topic", "without + #"),
        (("", "[output:lamp]\ntopic = a\nqos = 3\n"), "output:lamp", "qos", "3"),
        (("", "[meter:Gas]\nlow = x\n"), "meter:Gas", "low", "number"),
        (("", "[mapping:m]\ntopic = a/+\ntype = t\n"), "mapping:m", "device", "is missing"),
        (("", "[mapping:m]\ntopic = a/+\ndevice = {2}\ntype = t\n"), "mapping:m", "device", "{2} is not in the topic"),
    ],
)
def test_what_is_wrong_is_named_by_file_section_and_option(
    tmp_path: Path, change: tuple[str, str], section: str, option: str, message: str
) -> None:
    old, new = change
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, LEAST.replace(old, new) if old else LEAST + new)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'app.conf'}: [{section}] {option}")
    assert message in text
    assert "\n" not in text


def test_limits_the_wrong_way_round_and_half_a_certificate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[meter:Gas\].*low is above high"):
        _load(tmp_path, LEAST + "[meter:Gas]\nlow = 2\nhigh = 1\n")
    (tmp_path / "hub.pem").touch()
    with pytest.raises(ConfigError, match=r"\[mqtt\].*tls_cert and tls_key belong together"):
        _load(tmp_path, LEAST + f"tls_cert = {tmp_path / 'hub.pem'}\n")


def test_a_section_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write \[output:<name>\]"):
        _load(tmp_path, LEAST + "[output:]\ntopic = a\n")


def test_disabled_devices_are_listed_by_name(tmp_path: Path) -> None:
    assert _load(tmp_path, LEAST + "[hub]\ndisabled = A b, C\n").policy.disabled == {"a b", "c"}


def test_a_link_may_hold_the_command_itself(tmp_path: Path) -> None:
    settings = _load(tmp_path, LEAST + "[links]\nDoor = mqtt:cmnd/lamp/POWER ON 100%\n")
    (output,) = settings.policy.links.by_device["door"]
    assert (output.topic, output.payload) == ("cmnd/lamp/POWER", "ON 100%")


def test_importing_the_package_or_its_domain_loads_no_broker_client_and_no_pydantic() -> None:
    code = (
        "import sys, event_processor; assert not [m for m in sys.modules if m.startswith('event_processor.')];"
        "import event_processor.domain.engine, event_processor.domain.sensors, event_processor.domain.bodies;"
        "print([m for m in ('zmq', 'pika', 'paho', 'sqlite3', 'pydantic', 'logging') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


MAPPINGS = """
[mapping:boiler]
topic = boiler/{room}/state
device = {room} boiler
type = boiler
expression = {{ value_json.t * 0.1 }}
unit = C
room = {room}
command_topic = boiler/{room}/set
command_on = 1
command_off = 0
qos = 2
retain = yes

[mapping:siren]
topic = siren/none
device = Siren
type = siren
role = output
command_topic = siren/set
"""


def test_a_mapping_may_say_how_a_device_is_told_and_in_which_room_it_is(tmp_path: Path) -> None:
    settings = _load(tmp_path, LEAST + MAPPINGS)
    boiler, siren = settings.mappings
    assert (boiler.role, boiler.unit, boiler.room, boiler.qos, boiler.retain) == ("both", "C", "{room}", 2, True)
    assert boiler.payloads == (("on", "1"), ("off", "0"))
    assert siren.role == "output"
    assert "boiler/+/state" in settings.subscriptions
    assert "siren/none" not in settings.subscriptions, "it never reports"


@pytest.mark.parametrize(
    ("written", "option", "said"),
    [
        ("command_topic = set/+", "command_topic", "without wildcards"),
        ("role = output", "command_topic", "an output is told on a topic"),
        ("expression = value_json.t", "expression", "expected a template"),
        ("qos = 3", "qos", "'0', '1' or '2'"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_said_with_its_place(tmp_path: Path, written: str, option: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, LEAST + f"[mapping:m]\ntopic = a/b\ndevice = A\ntype = t\n{written}\n")
    assert f"[mapping:m] {option}" in str(caught.value)
    assert said in str(caught.value)
