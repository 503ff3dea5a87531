"""What an operator sees: structured logs, crash reports, health and metrics."""
