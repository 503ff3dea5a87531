"""What docs/how-to/test-an-application.md shows, and examples/tested, run as a reader would run them."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

import pylib
from pylib.testing.processes import run_program

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "test-an-application.md"

pytestmark = pytest.mark.timeout(110)


def run_pytest(folder: Path) -> str:
    """Run the tests of a folder in a process of their own; returns what was printed when they pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    with run_program(command, folder=folder, env={"PYTHONPATH": str(Path(pylib.__file__).parents[1])}) as program:
        assert program.wait(90) == 0, program.output
        return program.output


def test_everything_on_the_page_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    conftest = [block for block in blocks if block.startswith("# conftest.py\n")]
    tests = [block for block in blocks if block not in conftest]
    assert len(conftest) == 1
    (tmp_path / "conftest.py").write_text(conftest[0])
    (tmp_path / "test_page.py").write_text("\n\n".join(tests))
    count = sum(block.count("\ndef test_") + block.startswith("def test_") for block in tests)
    assert re.search(rf"^{count + 1} passed", run_pytest(tmp_path), re.MULTILINE), "one of them runs on both kinds of broker"


def test_every_fixture_and_every_fault_is_on_the_page() -> None:
    import pylib.testing.plugin as plugin
    from pylib.testing.faults import FaultProxy

    fixtures = {name for name, value in vars(plugin).items() if "FixtureFunction" in type(value).__name__ and name[0] != "_"}
    assert "amqp_broker" in fixtures
    text = PAGE.read_text()
    missing = {name for name in fixtures - {"rabbitmq_node"} if f"`{name}`" not in text}
    faults = {name for name, value in vars(FaultProxy).items() if callable(value) and name[0] != "_"}
    missing |= {name for name in faults - {"start", "stop"} if f"`{name}(" not in text}
    assert not missing


def test_the_example_project_passes_with_the_command_of_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "tested"
    shutil.copytree(ROOT / "examples" / "tested", folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    run_pytest(folder)
