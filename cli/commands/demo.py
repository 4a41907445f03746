"""`coatcheck demo`."""

import click

from cli.errors import CliError


@click.command()
def demo() -> None:
    """Show the whole story on a throw-away stack; exit status 0 only if all of it worked.

    Takes about half a minute. Needs nothing, changes nothing and leaves nothing behind; a running stack is not touched.
    """
    try:
        from cli.demo.run import run_demo
    except ImportError as error:
        raise CliError(f"{error.name} is missing: install it with `pip install 'coatcheck[stack]'`") from None
    run_demo()
