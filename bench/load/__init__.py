"""The load generator: a process of its own, light, because it shares the machine with what it measures."""
