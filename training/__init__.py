"""Programs that make what other packages only read."""
