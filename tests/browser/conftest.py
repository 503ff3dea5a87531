"""One Chromium and one house for all tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.kit import Browser, House, chromium


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser."""
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Brokers and a hub."""
    with House(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def page(chrome: Browser, house: House) -> Browser:
    """The browser, logged in as an admin, on a large screen."""
    chrome.size(1440, 900)
    chrome.look("light")
    if not chrome.signed_in(house):  # the test before may have been cut short
        chrome.sign_in(house)
    chrome.wrong()
    return chrome
