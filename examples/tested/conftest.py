"""Loads the fixtures. This one line, in the top conftest.py, is all that it takes."""

pytest_plugins = ["pylib.testing.plugin"]
