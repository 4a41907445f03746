"""The HTTP API: parse, authorise, call core, render."""
