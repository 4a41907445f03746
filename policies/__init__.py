"""Pure decisions without I/O: standard library and numpy only."""
