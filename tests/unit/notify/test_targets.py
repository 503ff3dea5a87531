"""The settings of receivers, their quiet time, and the pages that explain them."""

from __future__ import annotations

import doctest
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from event_processor.notify.masking import Mask
from event_processor.notify.targets import load_targets, read_quiet
from pylib.config import AppConfig
from pylib.errors import ConfigError

PAGES = Path(__file__).parents[3] / "docs" / "reference"


def config(tmp_path: Path, text: str) -> AppConfig:
    path = tmp_path / "app.conf"
    path.write_text(text)
    return AppConfig(path)


def test_the_example_of_the_page_is_understood_and_its_url_not_shown(tmp_path: Path) -> None:
    example = (PAGES / "notifications.md").read_text().partition("```ini\n")[2].partition("```")[0]
    (target,) = load_targets(config(tmp_path, example), "Europe/Berlin")
    assert (target.name, target.rate_s, target.urgent) == ("phone", 12.0, ("Smoke*", "Alarm*"))
    assert target.is_urgent("smoke kitchen")
    assert not target.is_urgent("Front Door", "washing")
    assert "8080" not in repr(target)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("rate_s = 1", "url"),
        ("url = tgram-s3cret", "expected a URL of Apprise"),
        ("url = json://s3cret/x\nquiet = 21:00", "is no time of the day"),
        ("url = json://s3cret/x\nquiet = 07:00-07:00", "begins and ends at the same time"),
        ("url = json://s3cret/x\nrate_s = often", "rate_s"),
        ("url = json://s3cret/x\ncolour = red", "colour"),
    ],
)
def test_a_mistake_is_named_and_no_secret_with_it(tmp_path: Path, options: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        load_targets(config(tmp_path, f"[notify:phone]\n{options}\n"))
    assert "s3cret" not in str(raised.value)


def test_the_quiet_time_goes_by_the_clock_of_the_user() -> None:
    zone = ZoneInfo("Europe/Berlin")
    quiet = read_quiet("21:00-07:00", "Europe/Berlin")
    assert quiet is not None

    def at(written: str, fold: int = 0) -> float:
        return datetime.fromisoformat(written).replace(tzinfo=zone, fold=fold).timestamp()

    assert quiet.ends(at("2026-11-24 20:59:59")) is None
    assert quiet.ends(at("2026-11-24 21:00")) == quiet.ends(at("2026-11-25 06:59")) == at("2026-11-25 07:00")
    assert quiet.ends(at("2026-11-25 07:00")) is None
    assert quiet.ends(at("2026-03-29 01:00")) == at("2026-03-29 07:00")
    noon = read_quiet("12:00-14:00", "Europe/Berlin")
    assert noon is not None
    assert noon.ends(at("2026-11-24 13:00")) == at("2026-11-24 14:00")
    # In the hour that comes twice a quiet time that ends within it is over the first time.
    early = read_quiet("23:00-02:30", "Europe/Berlin")
    assert early is not None
    assert early.ends(at("2026-10-25 02:10", fold=1)) is None
    assert read_quiet("") is None


def test_every_part_of_a_url_that_could_be_a_secret_is_masked() -> None:
    mask = Mask(["tgram://123456:ABCdef/-100200", "mailto://me%40home:p%40ssword@example.org?to=you"])
    text = "POST /bot123456:ABCdef/send chat -100200 p@ssword p%40ssword me@home failed with 401"
    hidden = mask(text)
    for secret in ("123456", "ABCdef", "100200", "ssword", "me@home"):
        assert secret not in hidden
    assert hidden.endswith("failed with 401")
    assert Mask([])("as it is") == "as it is"


@pytest.mark.parametrize("page", ["schedules.md", "meters.md"])
def test_the_examples_of_the_pages_do_what_they_show(page: str) -> None:
    found = doctest.testfile(str(PAGES / page), module_relative=False)
    assert found.attempted > 3
    assert found.failed == 0
