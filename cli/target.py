"""Finding the stack a command talks to: flags first, then environment variables, then the data directory."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.errors import CliError

if TYPE_CHECKING:
    from core.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])
DEFAULT_FOLDER = Path(".coatcheck")


@dataclass(frozen=True, slots=True)
class ApiTarget:
    """Where the API is and with which key to ask it."""

    url: str
    key: str


def api_options(command: Command) -> Command:
    """Add --url, --key and --data-dir to a command that talks to the API."""
    for option in (
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            help="Folder of a local stack.  [default: COATCHECK_DATA_DIR, else .coatcheck]",
        ),
        click.option("--key", help="API key.  [default: COATCHECK_API_KEY, else the local stack's]"),
        click.option("--url", help="Address of the API.  [default: COATCHECK_API_URL, else the local stack's]"),
    ):
        command = option(command)
    return command


def database_options(command: Command) -> Command:
    """Add --data-dir to a command that works on the database itself."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Folder of a running local stack.  [default: COATCHECK_DATABASE_URL, else COATCHECK_DATA_DIR, else .coatcheck]",
    )(command)


def _folder(data_dir: Path | None) -> Path:
    return data_dir or Path(os.environ.get("COATCHECK_DATA_DIR") or DEFAULT_FOLDER)


def api_target(url: str | None, key: str | None, data_dir: Path | None) -> ApiTarget:
    """Decide which API to ask. Raises CliError that says what to do."""
    if url is None and data_dir is None:
        url = os.environ.get("COATCHECK_API_URL")
    local = _stack_file(_folder(data_dir)) or {}
    if url is None:
        if not local:
            raise CliError(
                f"no stack is running in {_folder(data_dir)}: start one with `coatcheck up`, "
                "or name an API with --url or COATCHECK_API_URL"
            )
        url = str(local["api_url"])
    key = key or (None if data_dir else os.environ.get("COATCHECK_API_KEY"))
    if key is None and url == local.get("api_url"):
        key = str(local["api_key"])
    if not key:
        raise CliError(
            f"no API key for {url}: give one with --key or COATCHECK_API_KEY; `coatcheck keys create` makes one"
        )
    return ApiTarget(url.rstrip("/"), key)


def database_settings(data_dir: Path | None) -> "Settings":
    """Settings with the database to work on. Raises CliError that says what to do."""
    if data_dir is None and os.environ.get("COATCHECK_DATABASE_URL"):
        return _settings({})
    folder = _folder(data_dir)
    local = _stack_file(folder)
    if local is None:
        raise CliError(f"no stack is running in {folder}: start one with `coatcheck up`, or set COATCHECK_DATABASE_URL")
    from cli.stack.state import Secrets

    known = {name: local[name] for name in ("database_url", "redis_url", "broker_url")}
    if not os.environ.get("COATCHECK_SECRET_KEY"):
        known["secret_key"] = Secrets.load(folder).secret_key
    return _settings(known)


def folder_of(settings: "Settings", data_dir: Path | None) -> Path | None:
    """The data directory of the running local stack that works on this database, if there is one."""
    folder = _folder(data_dir)
    local = _stack_file(folder)
    return folder if local is not None and local.get("database_url") == settings.database_url else None


def _settings(known: dict[str, Any]) -> "Settings":
    from pydantic import ValidationError

    from core.settings import Settings

    try:
        return Settings(**known)
    except ValidationError as error:
        wrong = [f"COATCHECK_{str(part['loc'][0]).upper()}: {part['msg']}" for part in error.errors()]
        raise CliError("; ".join(wrong)) from None


def _stack_file(folder: Path) -> dict[str, Any] | None:
    from cli.stack.state import read_stack_file

    return read_stack_file(folder)
