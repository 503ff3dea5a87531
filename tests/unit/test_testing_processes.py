"""A program is waited for by what it prints, and never outlives its test."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from pylib.testing.processes import ProgramFailed, run_program, run_python

pytestmark = [pytest.mark.leak_check, pytest.mark.timeout(60)]

SLEEPER = "import signal, sys\nprint('ready')\nprint('also here', file=sys.stderr)\nsignal.pause()\n"


@pytest.fixture
def sleeper(tmp_path: Path) -> Path:
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    return script


def test_a_line_is_found_in_either_output_also_when_it_came_earlier(sleeper: Path) -> None:
    with run_python(sleeper) as program:
        program.wait_for("also here")
        assert program.wait_for("^rea(.)y").group(1) == "d"
        assert program.running


def test_a_missing_line_fails_with_the_whole_output(sleeper: Path) -> None:
    with run_python(sleeper) as program:
        program.wait_for("also here")
        with pytest.raises(ProgramFailed, match=r"(?s)within 0.05 s.*ready"):
            program.wait_for("never", timeout=0.05)


def test_waiting_for_a_line_ends_when_the_program_does() -> None:
    with (
        run_program([sys.executable, "-c", "print('bye')"]) as program,
        pytest.raises(ProgramFailed, match=r"(?s)ended without printing.*bye"),
    ):
        program.wait_for("never", timeout=30)


def test_the_exit_code_and_the_environment_are_the_programs_own() -> None:
    code = "import os, sys; print(os.environ['DOOR']); sys.exit(7)"
    with run_program([sys.executable, "-c", code], env={"DOOR": "front"}) as program:
        assert program.wait() == 7
        assert program.output == "front"


def test_a_signal_ends_the_program_and_shows_in_its_exit_code(sleeper: Path) -> None:
    with run_python(sleeper) as program:
        program.wait_for("ready")
        assert program.stop(signal.SIGTERM) == -signal.SIGTERM


def test_a_program_that_does_not_end_is_reported_and_killed(sleeper: Path) -> None:
    with run_python(sleeper) as program, pytest.raises(ProgramFailed, match="did not end"):
        program.wait(timeout=0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(program.pid, 0)


def test_the_output_is_shown_when_the_test_fails(sleeper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="the test's own"):  # noqa: SIM117, PT012
        with run_python(sleeper) as program:
            program.wait_for("also here")
            raise ValueError("the test's own")
    assert "ready" in capsys.readouterr().err
