"""Telling people: a queue on disk, pacing per target, and Apprise to reach a hundred services."""
