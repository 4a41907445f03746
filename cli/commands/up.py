"""`coatcheck up` and `coatcheck down`."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from cli.errors import CliError

if TYPE_CHECKING:
    from cli.stack.plan import UpOptions

DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".coatcheck"),
    show_default=True,
    envvar="COATCHECK_DATA_DIR",
    help="Where the stack keeps its database, keys and logs.",
)


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port of the API; 0 is any."
)
@DATA_DIR
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Worker processes.")
@click.option("--api-workers", type=click.IntRange(1, 64), default=1, show_default=True, help="API processes.")
@click.option(
    "--catalog",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    envvar="COATCHECK_CATALOG",
    help="The file that lists the models.  [default: catalog.toml here, else the one of the installation]",
)
@click.option("--detach", is_flag=True, help="Return when the stack is ready; `coatcheck down` stops it.")
@click.option("--tell", type=int, hidden=True, help="File descriptor on which a waiting parent reads the progress.")
@click.pass_context
def up(
    context: click.Context,
    port: int,
    data_dir: Path,
    workers: int,
    api_workers: int,
    catalog: Path | None,
    detach: bool,
    tell: int | None,
) -> None:
    """Start everything on this machine and print one `ready` line.

    Starts Postgres, Redis, the API, workers, beat and Flower, and keeps their data between runs. Ctrl-C stops all of it.
    To use servers of your own, set COATCHECK_DATABASE_URL, COATCHECK_REDIS_URL and COATCHECK_BROKER_URL.
    """
    wanted = context.get_parameter_source("port") is not click.core.ParameterSource.DEFAULT
    file = find_catalog(catalog)
    simulate = check_catalog(file)
    if detach:
        _detach(data_dir, ["--port", str(port)] if wanted else [], workers, api_workers, file)
        return
    from cli.stack.plan import UpOptions

    _run(UpOptions(data_dir.resolve(), port, wanted, workers, api_workers, file, simulate), tell)


@click.command()
@DATA_DIR
def down(data_dir: Path) -> None:
    """Stop the stack of a data directory; its data stay.

    Stops a detached stack, one in another terminal, and what is left of one whose `coatcheck up` was killed.
    """
    root = data_dir.resolve()
    if not root.is_dir():
        raise CliError(f"there is no stack in {root}; name its folder with --data-dir")
    from cli.stack.stop import stop_stack

    click.echo(stop_stack(root))


def find_catalog(given: Path | None) -> Path:
    """The catalog file: the given one, else ./catalog.toml, else the installation's. Raises CliError."""
    installed = Path(__file__).parents[2] / "catalog.toml"
    for candidate in (given, Path("catalog.toml"), installed):
        if candidate is not None and candidate.is_file():
            return candidate.resolve()
    raise CliError("no catalog file found; name one with --catalog or COATCHECK_CATALOG")


def check_catalog(file: Path) -> bool:
    """Whether the simulator is needed. Raises CliError with every mistake in the catalog."""
    from core.catalog import CatalogError, load

    try:
        catalog = load(file)
    except CatalogError as error:
        raise CliError(f"the catalog has mistakes:\n{error}") from None
    return not (catalog.has_provider("openai") or catalog.has_provider("anthropic"))


def _run(options: "UpOptions", tell: int | None) -> None:
    try:
        from cli.stack.folders import FolderRefused
        from cli.stack.lock import StackHeld
        from cli.stack.ports import PortTaken
        from cli.stack.report import Report
        from cli.stack.run import run_stack
        from cli.stack.server import ServerFailed
    except ImportError as error:
        raise CliError(f"{error.name} is missing: install it with `pip install 'coatcheck[stack]'`") from None
    try:
        run_stack(options, Report(tell))
    except StackHeld as held:
        raise CliError(
            f"{options.root} already has a running stack: {held}\n"
            f"Stop it with `coatcheck down --data-dir {options.root}`, or choose another --data-dir."
        ) from None
    except OSError as error:
        raise CliError(f"{error.filename or options.root}: {error.strerror or error}") from None
    except (ServerFailed, FolderRefused, PortTaken, ValueError) as error:
        raise CliError(str(error)) from None


def _detach(data_dir: Path, port: list[str], workers: int, api_workers: int, catalog: Path) -> None:
    """Start `up` in a session of its own and show its progress until it is ready."""
    from cli.stack.folders import FolderRefused, private_folder

    try:
        logs = private_folder(private_folder(data_dir.resolve()) / "logs")
    except FolderRefused as error:
        raise CliError(str(error)) from None
    reading, writing = os.pipe()
    own = ["--data-dir", str(data_dir.resolve()), "--workers", str(workers), "--api-workers", str(api_workers)]
    command = [sys.executable, "-m", "cli", "up", *port, *own, "--catalog", str(catalog), "--tell", str(writing)]
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    click.echo(f"· logs are in {logs}")
    with (logs / "up.log").open("wb") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writing,), start_new_session=True
        )
    os.close(writing)
    try:
        with os.fdopen(reading) as progress:
            ready = _show(progress)
    except KeyboardInterrupt:
        click.echo("interrupted: stopping what was started", err=True)
        child.terminate()
        child.wait()
        raise SystemExit(130) from None
    if not ready:
        child.wait()
        lines = (logs / "up.log").read_text(errors="replace").split("error: ", 1)
        raise CliError(lines[-1].strip())


def _show(progress: IO[str]) -> bool:
    """Print the lines as they come; whether the stack got ready."""
    ready = False
    for line in progress:
        click.echo(line.rstrip())
        ready = ready or line.startswith("ready ")
    return ready
