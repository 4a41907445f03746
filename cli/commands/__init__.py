"""One module for each command; heavy imports stay inside the functions, so that `--help` is quick."""
