"""``pylib asyncapi``: an AsyncAPI 3 document of an application."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

from pylib.errors import ConfigError

if TYPE_CHECKING:  # what it costs to import is for those who ask for a document
    from pylib.application import Application

__all__ = ["add_to", "load"]

_DESCRIPTION = (
    "Prints what an application receives as an AsyncAPI 3 document, in JSON: channels by topic and routing key, messages by "
    "the types of their handlers. The module is imported; no broker is asked, and run() in it does nothing."
)


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser("asyncapi", help="describe an application's messages", description=_DESCRIPTION)
    parser.add_argument("application", metavar="MODULE:APP", help="such as garden:app, or garden.py:app")
    parser.add_argument("--version", dest="of", default="1.0.0", metavar="V", help="of the application (default: 1.0.0)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from pylib.application.asyncapi import asyncapi

    print(json.dumps(asyncapi(load(options.application), version=options.of), indent=2, ensure_ascii=False))
    return 0


class _RunError(BaseException):
    """The module has come to ``run()``: everything before it has been done."""


def load(target: str) -> Application:
    """Import ``module:name`` or ``file.py:name`` and give the application of that name. Main thread, in a process of its own.

    An ``app.run()`` that stands in the module without a guard ends the import there, and starts nothing.

    :raises ConfigError: there is no such module, it cannot be imported, or there is no application of that name in it.
    """
    from pylib.application import Application

    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise ConfigError(f"{target!r}: say module:name or file.py:name, such as garden:app.")
    module, made = _imported(where)
    found = vars(module).get(name)
    if isinstance(found, Application):
        return found
    others = [each for each, value in vars(module).items() if isinstance(value, Application)]
    hint = f"there is {', '.join(others)}" if others else "there is none in it" if not made else "it is kept under no name"
    raise ConfigError(f"{where} has no application named {name!r}; {hint}.")


def _imported(where: str) -> tuple[ModuleType, list[Application]]:
    from pylib.application import Application

    started: list[Application] = []

    def run(self: Application) -> NoReturn:
        started.append(self)
        raise _RunError

    path = Path(where) if where.endswith(".py") else None
    name = path.stem if path is not None else where
    sys.path.insert(0, str(path.resolve().parent) if path is not None else "")
    kept = Application.run
    Application.run = run  # type: ignore[method-assign]  # for the import only
    try:
        spec = _spec(path, name, where)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        if spec.loader is None:
            raise ConfigError(f"{where} is a folder without a module in it.")
        spec.loader.exec_module(module)
    except _RunError:
        module = sys.modules[name]
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        Application.run = kept  # type: ignore[method-assign]  # as it was
        sys.path.pop(0)
    return module, started


def _spec(path: Path | None, name: str, where: str) -> importlib.machinery.ModuleSpec:
    try:
        if path is None:
            spec = importlib.util.find_spec(name)
        else:
            spec = importlib.util.spec_from_file_location(name, path) if path.is_file() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ConfigError(f"{where}: there is no such module here; name a file as garden.py:app.")
    return spec
