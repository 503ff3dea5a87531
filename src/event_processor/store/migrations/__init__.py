"""The steps from each schema to the next, for Alembic; ``event_processor.store.migrate`` takes them."""
