"""Settings: where a value comes from, and what a person is told when it is missing or wrong."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings

import pylib
from pylib.config import AppConfig, app_config, load_settings, looks_secret, redact
from pylib.errors import ConfigError

CONF = """
[app]
name = hub

[rabbitmq]
server_address = amqp://me:p%40ss%word@broker:5672/
Port: 5672
ratio = 2.5
durable = Yes
password = from-file

[topics]
sensor/Garage/# = garage
"""
CANARY = "c4n4ry-p@ss"


def make(tmp_path: Path, text: str = CONF, environ: dict[str, str] | None = None, **secrets: str) -> AppConfig:
    path = tmp_path / "app.conf"
    path.write_text(text, encoding="utf-8")
    folder = tmp_path / "secrets"
    folder.mkdir(exist_ok=True)
    for name, value in secrets.items():
        (folder / name).write_text(value, encoding="utf-8")
    return AppConfig(path, {} if environ is None else environ, folder)


def test_a_percent_sign_is_a_percent_sign(tmp_path: Path) -> None:
    assert make(tmp_path).get("rabbitmq", "server_address") == "amqp://me:p%40ss%word@broker:5672/"


def test_values_are_converted(tmp_path: Path) -> None:
    config = make(tmp_path)
    assert config.getint("rabbitmq", "port") == 5672
    assert config.getfloat("rabbitmq", "ratio") == 2.5
    assert config.getboolean("rabbitmq", "durable") is True


def test_options_keep_their_spelling_and_are_found_in_any(tmp_path: Path) -> None:
    config = make(tmp_path)
    assert config.items("topics") == [("sensor/Garage/#", "garage")]
    assert config.get("rabbitmq", "PORT") == "5672"
    assert config.has_option("rabbitmq", "port")
    assert config.options("topics") == ["sensor/Garage/#"]
    assert config.sections() == ["app", "rabbitmq", "topics"]
    assert config.has_section("app")
    assert not config.has_section("absent")


def test_the_environment_wins_over_a_secret_which_wins_over_the_file_which_wins_over_the_fallback(
    tmp_path: Path,
) -> None:
    environ: dict[str, str] = {}
    config = make(tmp_path, environ=environ, RabbitMQ_Password="from-secret\n")
    environ["RABBITMQ_PASSWORD"] = "from-environment"
    assert config.get("rabbitmq", "password", fallback="from-fallback") == "from-environment"
    del environ["RABBITMQ_PASSWORD"]
    assert config.get("rabbitmq", "password", fallback="from-fallback") == "from-secret"
    (tmp_path / "secrets" / "RabbitMQ_Password").unlink()
    config.reset()
    assert config.get("rabbitmq", "password", fallback="from-fallback") == "from-file"
    assert config.get("rabbitmq", "passphrase", fallback="from-fallback") == "from-fallback"
    assert config.get("rabbitmq", "passphrase", fallback=None) is None


def test_other_signs_in_a_name_become_underscores(tmp_path: Path) -> None:
    config = make(tmp_path, environ={"OUTPUT_FRONT_DOOR_LAMP_TYPE": "relay"})
    assert config.get("output:front-door lamp", "type") == "relay"


def test_items_have_the_overrides_applied(tmp_path: Path) -> None:
    config = make(tmp_path, environ={"APP_NAME": "other"})
    assert config.items("app") == [("name", "other")]


def test_a_missing_option_names_file_section_option_and_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make(tmp_path).get("rabbitmq", "mq_exchange")
    message = str(caught.value)
    assert f"{tmp_path / 'app.conf'}: [rabbitmq] mq_exchange is missing" in message
    assert "RABBITMQ_MQ_EXCHANGE" in message
    assert "\n" not in message


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"section \[mqtt\] is missing: add it, with the option server_address, or set"):
        make(tmp_path).get("mqtt", "server_address")
    with pytest.raises(ConfigError, match=r"section \[mqtt\] is missing"):
        make(tmp_path).items("mqtt")


def test_a_missing_default_file_matters_only_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = AppConfig(environ={"RABBITMQ_PORT": "1"})
    assert config.getint("rabbitmq", "port") == 1
    assert config.get("rabbitmq", "x", fallback="y") == "y"
    with pytest.raises(ConfigError, match=r"app\.conf: \[rabbitmq\] x is missing because the file does not exist"):
        config.get("rabbitmq", "x")


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    config = AppConfig(environ={"APP_CONFIG": str(tmp_path / "other.conf")})
    with pytest.raises(ConfigError, match=r"other\.conf, which APP_CONFIG names, does not exist"):
        config.get("a", "b", fallback="c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\nb = 1\nnonsense\n", "line 3: this is neither"),
        (f"password = {CANARY}\n", "line 1: there is text before the first [section]"),
        ("[a]\n[a]\n", "line 2: section [a] is there twice"),
        ("[a]\nb = 1\nb = 2\n", "line 3: [a] b is there twice"),
    ],
)
def test_a_file_that_cannot_be_parsed_names_the_line_and_quotes_nothing(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(tmp_path, text).get("a", "b")
    assert said in str(caught.value)
    assert str(tmp_path / "app.conf") in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_file_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_bytes(b"[a]\nb = \xff\n")
    with pytest.raises(ConfigError, match="byte 8 is not UTF-8"):
        AppConfig(tmp_path / "app.conf", {}).get("a", "b")


def test_a_bad_number_shows_the_value_and_its_place(tmp_path: Path) -> None:
    config = make(tmp_path, environ={"RABBITMQ_PREFETCH": "abc"})
    with pytest.raises(ConfigError, match=r'environment variable RABBITMQ_PREFETCH \(\[rabbitmq\] prefetch\) is "abc"; it '):
        config.getint("rabbitmq", "prefetch")
    with pytest.raises(ConfigError, match=r'app\.conf: \[rabbitmq\] ratio is "2\.5"; it has to be a whole number'):
        config.getint("rabbitmq", "ratio")
    with pytest.raises(ConfigError, match="yes, no, true, false"):
        config.getboolean("rabbitmq", "ratio")


@pytest.mark.parametrize("option", ["password", "api_token", "secret", "private_key", "Passphrase", "dsn"])
def test_a_secret_is_never_in_a_message(tmp_path: Path, option: str) -> None:
    config = make(tmp_path, environ={f"X_{option.upper()}": CANARY})
    with pytest.raises(ConfigError) as caught:
        config.getint("x", option)
    assert CANARY not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_url_with_a_user_is_never_in_a_message(tmp_path: Path) -> None:
    config = make(tmp_path, environ={"X_ADDRESS": f"amqp://me:{CANARY}@host"})
    with pytest.raises(ConfigError) as caught:
        config.getint("x", "address")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("option", ["server_address", "port", "device_topic", "tls_ca"])
def test_ordinary_options_do_not_look_secret(option: str) -> None:
    assert not looks_secret(option)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("to amqp://me:pw@host:5672/v failed", "to amqp://me:***@host:5672/v failed"),
        ("amqp://me:p@:/#w@host", "amqp://me:***@host"),
        ("amqp://:pw@host", "amqp://:***@host"),
        ("http://host/x,amqp://me:pw@host", "http://host/x,amqp:***@host"),
        ("(mqtts://a:b@c) and (mqtts://d:e@f)", "(mqtts://a:***@c) and (mqtts://d:***@f)"),
        ("amqp://host:5672/ is away", "amqp://host:5672/ is away"),
        ("mail me@host", "mail me@host"),
        ("amqp://me@host", "amqp://me@host"),
    ],
)
def test_redaction_hides_the_password_of_every_url(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_settings_are_read_once_however_many_threads_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make(tmp_path)
    reads: list[Path] = []
    original = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: (reads.append(self), original(self, *a, **k))[1])
    barrier = threading.Barrier(8)
    seen: list[str] = []

    def ask() -> None:
        barrier.wait(10)
        seen.append(config.get("app", "name"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == ["hub"] * 8
    assert reads == [tmp_path / "app.conf"]


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    config = make(tmp_path, x_password="")
    (tmp_path / "secrets" / "x_password").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"secret file .*x_password is not UTF-8"):
        config.get("x", "password")


def test_a_secrets_folder_that_is_named_must_exist(tmp_path: Path) -> None:
    config = AppConfig(environ={"APP_SECRETS": str(tmp_path / "absent")})
    with pytest.raises(ConfigError, match=r"secrets folder .*absent cannot be read"):
        config.get("a", "b", fallback="")


def test_names_come_from_environment_then_file_then_script_and_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make(tmp_path, environ={"APP_NAME": "env", "DEVICE_NAME": "dev"}).app_name() == "env"
    assert make(tmp_path, environ={"DEVICE_NAME": "dev"}).device_name() == "dev"
    assert make(tmp_path).app_name() == "hub"
    assert make(tmp_path, "[app]\ndevice_name = attic\n").device_name() == "attic"
    assert make(tmp_path, "").device_name() == os.uname().nodename
    for script, name in [
        ("/x/siren.py", "siren"),
        ("/x/event_processor/__main__.py", "event_processor"),
        ("-c", "pylib"),
    ]:
        monkeypatch.setattr(sys, "argv", [script])
        assert make(tmp_path, "").app_name() == name


def test_the_package_offers_the_seeds_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_NAME", "from-environment")
    monkeypatch.setenv("DEVICE_NAME", "from-environment-too")
    assert pylib.app_config is app_config
    assert pylib.log.name == "pylib"
    assert (pylib.APP_NAME, pylib.DEVICE_NAME) == ("from-environment", "from-environment-too")
    assert pylib.__version__[0].isdigit()
    assert set(pylib.__all__) <= set(dir(pylib))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pylib.nonsense


class Broker(BaseModel):
    model_config = ConfigDict(extra="forbid")

    host: str
    port: int = Field(default=1883, ge=1, le=65535)
    topics: list[str] = []
    password: str = Field(default="", max_length=4)


class User(BaseSettings):
    user: str = "nobody"
    level: int = 0


def test_a_model_is_filled_from_its_section_with_overrides(tmp_path: Path) -> None:
    config = make(tmp_path, "[mqtt]\nhost = a\nport = 1\ntopics = x/#, y/+\n", {"MQTT_PORT": "2"})
    assert load_settings(Broker, "mqtt", config) == Broker(host="a", port=2, topics=["x/#", "y/+"])
    config = make(tmp_path, '[mqtt]\nhost = a\ntopics = ["x, y"]\n')
    assert load_settings(Broker, "mqtt", config).topics == ["x, y"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mqtt]\nport = 1\n", "app.conf: [mqtt] host is missing: add the line 'host = ...' there, or set"),
        ("[mqtt]\nhost = a\nport = abc\n", 'app.conf: [mqtt] port is "abc": input should be a valid integer'),
        ("[mqtt]\nhost = a\nport = 70000\n", "app.conf: [mqtt] port"),
        ("[mqtt]\nhost = a\nhots = b\n", "app.conf: [mqtt] hots is not an option of this section"),
        ("[other]\n", "app.conf: section [mqtt] is missing: add it, with the option host"),
    ],
)
def test_a_model_that_does_not_fit_is_one_line_with_file_section_and_option(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(Broker, "mqtt", make(tmp_path, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_never_shows_a_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(Broker, "mqtt", make(tmp_path, f"[mqtt]\nhost = a\npassword = {CANARY}\n"))
    assert "[mqtt] password" in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_settings_class_does_not_read_the_environment_behind_our_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "root")
    settings = load_settings(User, "login", make(tmp_path, "[login]\nlevel = 3\n"))
    assert isinstance(settings, User)
    assert (settings.user, settings.level) == ("nobody", 3)
