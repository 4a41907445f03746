"""Routing: which deployment takes a call, how many it may take, and what the worker processes tell each other about it."""
