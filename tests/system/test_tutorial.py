"""The tutorial, typed word for word: what it says is printed, and what it says is sent arrives."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylib.testing.ports import free_port
from tests.system.hub_kit import ROOT, SOURCE
from tests.system.tutorial_kit import File, Reader, Step, steps_of

PAGE = ROOT / "docs" / "tutorial" / "first-sensor-to-first-rule.md"
STAYING = {"brokers": 0, "hub": 0, "lamp": 0}


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Reader]:
    """Somebody with an empty home, no settings in the environment and nothing but the system's programs."""
    web = str(free_port())
    env = {"HOME": str(tmp_path), "PATH": os.defpath, "LANG": "C.UTF-8", "TERM": "xterm", "WEB_PORT": web}
    ports = {"1883": str(free_port()), "5672": str(free_port()), "8080": web}
    reader = Reader(ROOT, env, staying=STAYING, replace=ports)
    yield reader
    reader.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_the_tutorial_says_happens(newcomer: Reader, tmp_path: Path) -> None:
    """All but the installation: this environment's programs stand in for it."""
    programs = tmp_path / "home-venv" / "bin"
    programs.mkdir(parents=True)
    (tmp_path / "my-home").mkdir()
    here = Path(sys.executable).parent
    (programs / "activate").write_text(f'export PATH="{here}:$PATH" PYTHONPATH="{SOURCE}"\n')
    assert newcomer.follow(PAGE.read_text(), skip=frozenset(("install",)), files=tmp_path / "my-home") == 16


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_tutorial_works_word_for_word_on_a_clean_machine(newcomer: Reader, tmp_path: Path) -> None:
    """The installation too, into an environment that has nothing yet. It asks the package index."""
    assert newcomer.follow(PAGE.read_text(), files=tmp_path / "my-home") == 19


EXAMPLES = {
    "explanation/supervision.md": {"flaky": 0},
    "explanation/shutdown.md": {"stubborn": 1},  # a thread did not end
    "how-to/use-threads-of-your-own.md": {"brokers": 0, "bell": 0, "ear": 0},
}


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_examples_of_a_page_print_what_it_says(page: str, tmp_path: Path) -> None:
    here = Path(sys.executable).parent
    ports = {"1883": str(free_port()), "5672": str(free_port())}
    env = {"HOME": str(tmp_path), "PATH": f"{here}:{os.defpath}", "PYTHONPATH": str(SOURCE), "TERM": "xterm"}
    reader = Reader(tmp_path, env, staying=EXAMPLES[page], replace=ports)
    try:
        assert reader.follow((ROOT / "docs" / page).read_text(), files=tmp_path) >= 1
    finally:
        reader.close()


def test_every_page_is_in_the_index_and_every_link_of_the_index_and_the_readme_leads_somewhere() -> None:
    linked = set()
    for page in (ROOT / "README.md", ROOT / "docs" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
            linked.add((page.parent / target).resolve())
    pages = {
        path.resolve()
        for kind in ("tutorial", "how-to", "reference", "explanation")
        for path in (ROOT / "docs" / kind).glob("*.md")
    }
    assert pages - linked == set(), "docs/README.md does not know them"


def test_the_page_tells_of_four_terminals_and_two_files() -> None:
    steps = list(steps_of(PAGE.read_text()))
    assert {step.terminal for step in steps if isinstance(step, Step)} == {*STAYING, "you", "install", "every"}
    assert [step.name for step in steps if isinstance(step, File)] == ["app.conf", "rules.toml"]


def test_what_is_printed_otherwise_is_noticed(newcomer: Reader, tmp_path: Path) -> None:
    page = "```console\n$ echo one two\none ...\n$ echo three\nfour\n```\n"
    with pytest.raises(AssertionError, match="instead of:\nfour"):
        newcomer.follow(page, files=tmp_path)
    with pytest.raises(AssertionError, match="false"):
        newcomer.follow("```console\n$ false\n```\n", files=tmp_path)
