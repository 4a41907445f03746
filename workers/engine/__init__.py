"""The engine of a worker process: one event loop that claims jobs, runs them and commits what became of them."""
