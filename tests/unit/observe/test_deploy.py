"""What is in deploy/ fits the program that it deploys, as far as that shows without a container engine and a boot."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are one more package
from paho.mqtt.enums import CallbackAPIVersion

from event_processor.settings import load
from event_processor.settings.sections import House, MqttSettings, RabbitSettings, WebSection
from pylib.config import AppConfig
from pylib.testing.ports import free_port
from pylib.testing.processes import run_program

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
#: Options by the section that reads them: a variable of the environment is <SECTION>_<OPTION>.
OPTIONS = {
    "HUB": set(House.model_fields),
    "WEB": set(WebSection.model_fields),
    "MQTT": set(MqttSettings.model_fields),
    "RABBITMQ": set(RabbitSettings.model_fields),
    "OBSERVE": {"metrics_port", "metrics_address", "ping_url", "ping_every_s", "ping_when", "ping_style"},
}
#: Variables that belong to no section.
PLAIN = {"DEVICE_NAME", "STATE_DIRECTORY", "APP_CONFIG", "APP_SECRETS", "APP_NAME", "PATH", "PYTHONUNBUFFERED",
         "PYTHONDONTWRITEBYTECODE", "MALLOC_ARENA_MAX"}  # fmt: skip


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def is_read(variable: str) -> bool:
    section, _, option = variable.partition("_")
    return variable in PLAIN or option.lower() in OPTIONS.get(section, ())


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    command = [sys.executable, str(DEPLOY / "make_secrets.py"), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "was made" in done.stdout
    return folder


# -- the image ----------------------------------------------------------------------------------------------------------


def test_what_the_image_copies_is_there_and_let_through() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.removeprefix('./')}" in ignored, f"{source} is not let through"


def test_the_image_that_ships_is_slim_without_root_and_looks_after_itself() -> None:
    found = instructions()
    last = [position for position, (word, _) in enumerate(found) if word == "FROM"][-1]
    ships = found[last:]
    words = [word for word, _ in ships]
    assert ships[0] == ("FROM", "python:3.11-slim")
    assert all("apt-get" not in rest and "pip install" not in rest for _, rest in ships)
    assert ("USER", "10001:10001") in ships
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert {"HEALTHCHECK", "STOPSIGNAL", "VOLUME", "ENTRYPOINT"} <= set(words)
    (health,) = [rest for word, rest in ships if word == "HEALTHCHECK"]
    assert "/health/ready" in health
    assert "OBSERVE_METRICS_PORT=9100" in dict(ships)["ENV"]
    assert ":9100/" in health


def test_the_extras_of_the_image_exist() -> None:
    import tomllib

    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = re.findall(r'"\.\[([\w,]+)\]"', (DEPLOY / "Dockerfile").read_text())
    assert set(wanted.split(",")) <= set(known)


def test_every_variable_of_image_and_compose_file_is_one_that_is_read() -> None:
    set_by_image = re.findall(r"\b([A-Z_]+)=", " ".join(rest for word, rest in instructions() if word == "ENV"))
    set_by_compose = list(compose()["services"]["hub"]["environment"])
    assert [name for name in (*set_by_image, *set_by_compose) if not is_read(name)] == []
    assert not is_read("HUB_TIMEZON")


# -- the compose file ---------------------------------------------------------------------------------------------------


def test_the_compose_file_is_whole() -> None:
    found = compose()
    services = found["services"]
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        for each in service.get("secrets", ()):
            assert (each if isinstance(each, str) else each["source"]) in found["secrets"], name
        for each in service.get("configs", ()):
            assert each["source"] in found["configs"], name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in found["volumes"], volume
        assert set(service.get("depends_on", ())) <= set(services)
    build = services["hub"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert "ports" not in services["hub"], "only the proxy may reach the dashboard"
    assert services["rabbitmq"]["hostname"], "its data belong to its name"
    subnet = found["networks"]["home"]["ipam"]["config"][0]["subnet"]
    assert services["hub"]["environment"]["WEB_TRUSTED_PROXIES"] == subnet


def test_no_password_is_in_the_compose_file() -> None:
    assert not re.search(r"(?i)pass(word)?\s*[:=]\s*\S", (DEPLOY / "compose.yaml").read_text())


def test_environment_and_secrets_alone_are_enough_for_the_hub(secrets: Path, tmp_path: Path) -> None:
    given = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
             for name, value in compose()["services"]["hub"]["environment"].items()}  # fmt: skip
    settings = load(AppConfig(environ={**given, "STATE_DIRECTORY": str(tmp_path)}, secrets=secrets))
    assert settings.rabbitmq.server_address.endswith("@rabbitmq:5672")
    assert settings.mqtt.server_address.endswith("@mosquitto:1883")
    assert settings.web.host == "0.0.0.0"


def test_secrets_are_made_once_and_out_of_reach(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert {Path(each["file"]).name for each in compose()["secrets"].values()} <= set(before)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    command = [sys.executable, str(DEPLOY / "make_secrets.py"), str(secrets)]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    (secrets / "mosquitto_passwd").unlink()
    assert subprocess.run(command, capture_output=True).returncode == 1, "half a pair would lock everybody out"


def test_mosquitto_takes_its_settings_and_lets_in_who_has_a_password(secrets: Path, tmp_path: Path) -> None:
    port = free_port()
    text = (DEPLOY / "mosquitto/mosquitto.conf").read_text()
    text = (
        text.replace("listener 1883", f"listener {port} 127.0.0.1")
        .replace("/mosquitto/data/", f"{tmp_path}/")
        .replace("stdout", "stderr")
    )
    conf = tmp_path / "mosquitto.conf"
    conf.write_text(
        text.replace("/run/secrets/mosquitto_passwd", str(secrets / "mosquitto_passwd"))
        + f"user {_me()}\nlog_type information\n"
    )
    broker = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    password = (secrets / "devices_password").read_text().strip()
    with run_program([broker, "-c", str(conf), "-v"]) as program:
        program.wait_for("running", timeout=10)
        assert reason(port, "devices", password) == 0
        assert reason(port, "devices", "guess") != 0
        assert reason(port, None, None) != 0


def reason(port: int, user: str | None, password: str | None) -> int:
    """What the broker answers to a CONNECT: 0 lets in."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(user, password)
    answers: list[int] = []
    client.on_connect = lambda c, u, flags, code, properties: answers.append(code.value)
    client.connect("127.0.0.1", port)
    while not answers:
        client.loop(0.1)
    client.disconnect()
    client.loop(0.1)
    return answers[0]


def _me() -> str:
    import getpass

    return getpass.getuser()


# -- systemd ------------------------------------------------------------------------------------------------------------


def options(unit: Path) -> list[tuple[str, str]]:
    lines = [line for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_serves_the_watchdog_and_sets_what_is_read(unit: Path) -> None:
    found = dict(options(unit))
    assert found["Type"] == "notify"
    assert float(found["WatchdogSec"]) >= 10
    assert found["Restart"] == "on-failure"
    variables = [value.partition("=")[0] for name, value in options(unit) if name == "Environment"]
    assert [name for name in variables if not is_read(name)] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_a_unit_and_finds_little_exposed(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not here; the test above reads the units without it")
    copy = tmp_path / unit.name.replace("@", "@test")
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    verified = subprocess.run([analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True)
    said = [line for line in verified.stderr.splitlines() if copy.name in line]
    assert (verified.returncode, said) == (0, []), verified.stderr
    exposed = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", str(copy)], capture_output=True, text=True
    )
    assert exposed.returncode == 0, exposed.stdout[-400:]
