"""Schedules at work: the clock that fires them, and the expansion of their runs into jobs."""
