"""What `coatcheck doctor` looks at: each check says what it found and, where needed, what to do."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from cli.wording import counted

if TYPE_CHECKING:
    from cli.stack.lock import Holder

# Redis below this is no longer maintained by anybody; such a server must not listen on a network.
OLDEST_MAINTAINED_REDIS = (7, 2)
SMALLEST_FREE_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a check; `advice` says what to do, empty where nothing needs to be done."""

    name: str
    level: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def all_checks(root: Path) -> list[Finding]:
    """Run every check. A check that breaks is itself a finding."""
    checks: list[Callable[[Path], Iterator[Finding]]] = [
        _python,
        _postgres,
        _namespaces,
        _redis,
        _disk,
        _ports,
        _catalog,
        _stack,
        _servers,
    ]
    return [finding for check in checks for finding in _safely(check, root)]


def _safely(check: Callable[[Path], Iterator[Finding]], root: Path) -> list[Finding]:
    try:
        return list(check(root))
    except Exception as error:  # noqa: BLE001 - a doctor must not fall ill
        return [Finding(check.__name__.strip("_"), "fail", f"the check itself failed: {type(error).__name__}: {error}")]


def _python(_: Path) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    enough = sys.version_info >= (3, 11)
    yield Finding("Python", "ok" if enough else "fail", version, "" if enough else "install Python 3.11 or newer")


def _postgres(_: Path) -> Iterator[Finding]:
    if os.environ.get("COATCHECK_DATABASE_URL"):
        yield Finding("Postgres", "ok", "your own server (COATCHECK_DATABASE_URL)")
        return
    from cli.stack.postgres_identity import packaged_binaries
    from cli.stack.server import ServerFailed

    try:
        program = packaged_binaries() / "postgres"
    except ServerFailed as error:
        yield Finding("Postgres", "fail", "not installed", str(error))
        return
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    found = f"{done.stdout.strip() or done.stderr.strip()} ({program})"
    yield Finding(
        "Postgres", "fail" if done.returncode else "ok", found, "reinstall coatcheck[stack]" if done.returncode else ""
    )


def _namespaces(_: Path) -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield Finding("user", "ok", f"uid {os.geteuid()}; Postgres runs as this user")
        return
    from cli.stack.postgres_identity import FOREIGN_ROOT, namespaces_allowed, packaged_binaries

    if namespaces_allowed(packaged_binaries()):
        yield Finding("user", "ok", "root; Postgres runs in a user namespace of its own")
    else:
        found = f"root without user namespaces; Postgres runs as `nobody` with its data in {FOREIGN_ROOT}"
        advice = "this works; run coatcheck as an ordinary user to have all data in the data directory"
        yield Finding("user", "warn", found, advice)


def _redis(_: Path) -> Iterator[Finding]:
    if os.environ.get("COATCHECK_REDIS_URL") and os.environ.get("COATCHECK_BROKER_URL"):
        yield Finding("Redis", "ok", "your own server (COATCHECK_REDIS_URL, COATCHECK_BROKER_URL)")
        return
    from cli.stack.redis import bundled_redis, find_redis, version_of
    from cli.stack.server import ServerFailed

    try:
        program = find_redis()
        version = version_of(program)
    except ServerFailed as error:
        yield Finding("Redis", "fail", "not found", str(error))
        return
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if program != bundled_redis() and numbers >= OLDEST_MAINTAINED_REDIS:
        yield Finding("Redis", "ok", f"{version} ({program})")
        return
    found = f"{version} ({program}): an old version, so it listens on a private Unix socket only"
    advice = (
        "nothing to do for a stack on one machine; a package redis-server or valkey-server, 7.2 or newer, is preferred"
    )
    yield Finding("Redis", "warn", found, advice)


def _disk(root: Path) -> Iterator[Finding]:
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    level: Literal["ok", "warn"] = "ok" if free >= SMALLEST_FREE_BYTES else "warn"
    yield Finding(
        "disk",
        level,
        f"{free / 1e9:.1f} GB free at {place}",
        "" if level == "ok" else "make room, or choose another --data-dir",
    )
    writable = os.access(place, os.W_OK | os.X_OK)
    if not writable:
        yield Finding("data directory", "fail", f"{place} is not writable", "choose another --data-dir")


def _ports(root: Path) -> Iterator[Finding]:
    from cli.stack.lock import current_holder
    from cli.stack.ports import is_free

    if root.is_dir() and (not os.access(root, os.R_OK | os.W_OK | os.X_OK) or current_holder(root) is not None):
        return
    for name, port in (("port of the API", 8000), ("port of Flower", 5555)):
        free = is_free("127.0.0.1", port)
        yield Finding(name, "ok", f"{port} is free" if free else f"{port} is taken; `up` takes another one")


def _catalog(_: Path) -> Iterator[Finding]:
    from cli.commands.up import find_catalog
    from cli.errors import CliError
    from core.catalog import CatalogError, load, missing_keys

    given = os.environ.get("COATCHECK_CATALOG")
    try:
        file = find_catalog(Path(given) if given else None)
        found = load(file)
    except CliError as error:
        yield Finding("catalog", "fail", "none", error.message)
        return
    except CatalogError as error:
        yield Finding("catalog", "fail", str(error.problems[0]), "`coatcheck catalog check` lists all mistakes")
        return
    if found.deployments:
        yield Finding("catalog", "ok", f"{file}, {counted(len(found.deployments), 'deployment')}")
    else:
        advice = "add [[deployments]] tables as in the catalog.toml of the installation"
        yield Finding("catalog", "warn", f"{file} lists no deployment, so no model can be served", advice)
    for name in missing_keys(found, os.environ):
        yield Finding(
            "catalog",
            "warn",
            f"{name} is not set, which deployments in {file} name as their key",
            f"`export {name}=…` before `coatcheck up`; without it their jobs fail with `unauthorized`",
        )


def _stack(root: Path) -> Iterator[Finding]:
    from cli.stack.lock import current_holder

    if not root.is_dir():
        yield Finding("stack", "ok", f"none yet in {root}", "`coatcheck up` starts one")
        return
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        found = f"{root} belongs to {_user(root.stat().st_uid)}, who alone can see and run it"
        yield Finding("stack", "fail", found, "run coatcheck as that user, or choose another --data-dir")
        return
    holder = current_holder(root)
    if holder is not None:
        yield _running(root, holder)
        return
    from cli.stack.leftovers import leftover_processes

    left = leftover_processes(root)
    if left:
        names = ", ".join(str(process.pid) for process in left)
        found = f"not running in {root}, but {counted(len(left), 'process', 'processes')} of it still there: {names}"
        yield Finding("stack", "warn", found, f"`coatcheck down --data-dir {root}` ends them; `coatcheck up` does too")
    else:
        yield Finding("stack", "ok", f"not running; data in {root}")


def _running(root: Path, holder: "Holder") -> Finding:
    import psutil

    from cli.stack.state import read_stack_file

    if not holder.pid:
        return Finding("stack", "ok", f"just starting in {root}")
    try:
        by = f" of user {psutil.Process(holder.pid).username()}"
    except psutil.Error:
        by = ""
    state = "running" if read_stack_file(root) is not None else "starting or stopping"
    return Finding(
        "stack", "ok", f"{state} in {root}: process {holder.pid}{by}, since {holder.since}, {holder.api_url}"
    )


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid {uid}"


def _servers(root: Path) -> Iterator[Finding]:
    from cli.errors import CliError
    from cli.target import database_settings

    given = {name: bool(os.environ.get(f"COATCHECK_{name}_URL")) for name in ("DATABASE", "REDIS", "BROKER")}
    try:
        settings = database_settings(None if given["DATABASE"] else root)
    except CliError:
        return
    database = _database(settings)
    yield database
    if database.level == "ok":
        yield _vectors(settings)
    if given["REDIS"] or not given["DATABASE"]:
        yield _answers("Redis server", settings.redis_url)
    if given["BROKER"] or not given["DATABASE"]:
        yield _answers("broker", settings.broker_url)


def _database(settings: Any) -> Finding:
    from cli.schema import schema_state

    try:
        state = asyncio.run(asyncio.wait_for(schema_state(settings), 10))
    except Exception as error:  # noqa: BLE001 - whatever it is, it goes into the finding
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding("database", "fail", f"not reachable: {first}", "check COATCHECK_DATABASE_URL and that it runs")
    if state.is_current:
        return Finding("database", "ok", f"reachable, schema {state.newest}")
    found = f"reachable, schema {state.current or 'empty'}, the program needs {state.newest}"
    return Finding("database", "fail", found, "run `coatcheck migrate`")


def _vectors(settings: Any) -> Finding:
    from cli.schema import why_no_vectors

    reason = asyncio.run(asyncio.wait_for(why_no_vectors(settings), 10))
    if reason is None:
        return Finding("semantic cache", "ok", "vectors can be kept (pgvector)")
    return Finding(
        "semantic cache", "warn", f"off: {reason}", "all else works; jobs that ask for it use the exact cache"
    )


def _answers(name: str, url: str) -> Finding:
    """Whether a Redis or, for another kind of broker, at least its port answers. Passwords are never shown."""
    shown = url.rsplit("@", maxsplit=1)[-1]
    try:
        found = (
            _redis_version(url)
            if "redis" in url.split(":", maxsplit=1)[0] or url.startswith("unix:")
            else _port_open(url)
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it goes into the finding
        advice = "check its URL and that it runs; jobs go on without it, more slowly"
        return Finding(name, "fail", f"{shown} does not answer: {type(error).__name__}", advice)
    return Finding(name, "ok", f"{shown} answers ({found})")


def _redis_version(url: str) -> str:
    from redis import Redis

    if url.startswith("redis+socket://"):
        path, _, database = url.removeprefix("redis+socket://").partition("?virtual_host=")
        url = f"unix://{path}?db={database or 0}"
    with Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
        info: Any = client.info("server")
    return f"version {info['redis_version']}"


def _port_open(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or (5671 if parts.scheme.endswith("s") else 5672)
    with socket.create_connection((parts.hostname or "localhost", port), timeout=3):
        return f"port {port} is open"
