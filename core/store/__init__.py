"""The store: every move of a job is one guarded statement here, and nobody else writes SQL for them."""
