"""The `coatcheck` command and the one-machine stack."""
