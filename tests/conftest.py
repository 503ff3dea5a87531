"""Loads the library's own test kit for all tests, and the fixtures of a private PostgreSQL: one server for a whole run."""

pytest_plugins = ["pylib.testing.plugin", "tests.unit.store.postgresql"]
