"""What can be seen from outside: logs, metrics, traces. Never prompts, results, keys, or URLs with their queries."""
