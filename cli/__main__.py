"""`python -m cli` is the `coatcheck` command."""

from cli.main import main

if __name__ == "__main__":
    main(prog_name="coatcheck")
