"""Names to addresses, all of which may be dialled, or none."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

from policies.addresses import Openings, Target, dial_refusal

# (family, address) pairs of a host; what `resolve` awaits. Raises OSError for a name without addresses.
Lookup = Callable[[str, int], Awaitable[list[tuple[int, str]]]]

_LOOKUP_THREADS = 32
_LOOKUP_TIMEOUT_S = 5.0


class AddressBlocked(OSError):
    """The address may not be dialled. An OSError so that the connector treats it like any failed connection."""


class SystemLookup:
    """The operating system's resolver, on threads of its own: slow names must not starve what else uses the default threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="webhook-dns")

    async def __call__(self, host: str, port: int) -> list[tuple[int, str]]:
        """Addresses of `host` in the system's order. Raises OSError, also when it takes longer than five seconds."""
        query = asyncio.get_running_loop().run_in_executor(self._threads, _getaddrinfo, host, port)
        try:
            return await asyncio.wait_for(query, _LOOKUP_TIMEOUT_S)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "the name lookup took too long") from None

    def close(self) -> None:
        """Give up lookups that have not started."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class CheckedResolver(AbstractResolver):
    """Resolves for one URL scheme. A name with even one forbidden address is blocked: that mix is how rebinding looks."""

    def __init__(self, scheme: str, lookup: Lookup, openings: Openings) -> None:
        self._scheme = scheme
        self._lookup = lookup
        self._openings = openings

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses to dial. Raises AddressBlocked or, for a name that doesn't resolve, OSError."""
        found = await self._lookup(host, port)
        for _, address in found:
            check_dial(Target(self._scheme, host, port, None), address, self._openings)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, address in found
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def check_dial(target: Target, address: str, openings: Openings) -> None:
    """Raise AddressBlocked when this target must not be reached at this address."""
    if reason := dial_refusal(target, address, openings):
        raise AddressBlocked(reason)


def _getaddrinfo(host: str, port: int) -> list[tuple[int, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [
        (int(family), str(where[0])) for family, _, _, _, where in found if family in (socket.AF_INET, socket.AF_INET6)
    ]
