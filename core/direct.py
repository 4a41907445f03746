"""Connections for the statements that every job waits for: straight to the driver, kept open, one statement at a time.

A statement through SQLAlchemy costs seven times the driver's own price, and four of them lie on a job's way. What needs a
transaction of several statements, or is built from parts, goes through the engine. ``docs/adr/0007-direct-statements.md``
has the figures.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg


class Row(asyncpg.Record):  # type: ignore[misc]
    """A row whose columns are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class NotConnected(ConnectionError):
    """No connection could be had in time, so the server has seen nothing of the statement."""


class DirectPool:
    """A few connections, opened when needed and kept.

    Args:
        options: keyword arguments of ``asyncpg.connect``.
        most: most connections; further callers wait.
        wait_s: longest wait for one, in seconds.
    """

    def __init__(self, options: Mapping[str, Any], *, most: int, wait_s: float) -> None:
        self._options = options
        self._wait_s = wait_s
        self._free = asyncio.Semaphore(most)
        self._idle: list[asyncpg.Connection[Row]] = []

    async def fetch(self, sql: str, arguments: Sequence[object], *, within_s: float | None = None) -> list[Row]:
        """Run one statement, a transaction of its own, and return its rows; ``within_s`` is shorter than the usual limit.

        Raises:
            NotConnected: when no connection could be had.
            TimeoutError: when the statement took too long.
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError: what the driver raises.
        """
        await self._wait_for_one()
        try:
            connection = await self._open()
            try:
                rows: list[Row] = await connection.fetch(sql, *arguments, timeout=within_s)
            except asyncpg.PostgresError:
                self._keep(connection)
                raise
            except TimeoutError:
                connection.terminate()
                if within_s is None:
                    # A server that did not even say that it gave up is out of reach: so it is, most likely, on the others.
                    self.terminate()
                raise
            except BaseException:
                # Broken off in the middle: nobody should find out whose answer comes next on this connection.
                connection.terminate()
                raise
            self._keep(connection)
            return rows
        finally:
            self._free.release()

    async def _wait_for_one(self) -> None:
        # Most of the time a connection is free, and then no timer is needed to wait for it.
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise NotConnected("all direct connections are busy") from None

    async def _open(self) -> "asyncpg.Connection[Row]":
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            # The server was restarted; nothing was lost with this connection.
            connection.terminate()
        try:
            return await asyncpg.connect(**self._options, record_class=Row)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise NotConnected(str(error) or type(error).__name__) from error

    def terminate(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().terminate()

    def _keep(self, connection: "asyncpg.Connection[Row]") -> None:
        if connection.is_closed():
            connection.terminate()
        else:
            self._idle.append(connection)
