"""One module for each benchmark; each has `measure(world) -> list[Figure]`."""
