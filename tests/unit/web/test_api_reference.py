"""docs/reference/api.md says what the code does."""

from __future__ import annotations

from scripts.api_reference import PAGE, render


def test_the_reference_lists_every_operation_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert render(page) == page, "write it anew: python -m scripts.api_reference"
