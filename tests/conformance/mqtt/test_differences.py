"""The list of differences is the same in the suite and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance.mqtt.differences import DIFFERENCES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "embedded-brokers.md"


def test_the_page_lists_the_differences_that_the_suite_knows_and_no_others() -> None:
    mqtt = PAGE.read_text(encoding="utf-8").partition("\n## MQTT\n")[2].partition("\n## ")[0]
    listed = mqtt.partition("### Differences from Mosquitto\n")[2].partition("\nWhat it does not have")[0]
    assert re.findall(r"^- (.*)$", listed, re.MULTILINE) == [difference.reason for difference in DIFFERENCES]
