"""Loads the library's own test kit for all tests."""

pytest_plugins = ["pylib.testing.plugin"]
