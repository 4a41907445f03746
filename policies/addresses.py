"""Which addresses a user-given URL may lead to.

Two judgements, both pure:

- `check_url` looks at a URL when it is registered. It is a courtesy: it refuses early what can never work, but a name's
DNS answer may change later.
- `refusal` looks at one IP address right before it is dialled. It is the wall.

`Openings` are the operator's exceptions. A network in `ranges` is trusted: addresses in it may be dialled, by plain
http and on any port. Cloud metadata services are opened only by naming the very address (a /32 or /128), never by a
wider range.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_LENGTH = 2048
SAFE_PORTS = frozenset({443, 8443})

# `ipaddress.is_global` calls NAT64, 6to4, site-local, multicast and IPv4-compatible addresses global, so the list is
# our own.
_DENIED_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared (carrier NAT)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_DENIED_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::1/128", "loopback"),
        ("::/128", "unspecified"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
METADATA: frozenset[Address] = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRIVATE_NAMES = ("localhost", "internal", "local")


class UrlRefused(ValueError):
    """The URL must not be registered or called; the text says why and is safe to show."""


@dataclass(frozen=True, slots=True)
class Openings:
    """The operator's exceptions to the rules. `http` and `any_port` also hold outside of `ranges`."""

    ranges: tuple[Network, ...] = ()
    http: bool = False
    any_port: bool = False

    @classmethod
    def parse(cls, ranges: Iterable[str], *, http: bool = False, any_port: bool = False) -> "Openings":
        """Raises ValueError for a text that is neither an address nor a CIDR network."""
        return cls(tuple(ipaddress.ip_network(text.strip()) for text in ranges), http, any_port)

    def trusts(self, address: Address) -> bool:
        """Whether one of the ranges holds the address (for ::ffff:a.b.c.d also by its IPv4 form, which is what gets dialled)."""
        address = _unmapped(address)
        if address in METADATA:
            return any(network.num_addresses == 1 and address in network for network in self.ranges)
        return any(address in network for network in self.ranges if network.version == address.version)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a checked URL leads. `host` is normalised: ASCII, lower case, no trailing dot, no brackets."""

    scheme: str
    host: str
    port: int
    address: Address | None


def refusal(address: Address | str, openings: Openings) -> str | None:
    """Why this address must not be dialled, or None when it may be. A text that is no address is refused."""
    if isinstance(address, str):
        try:
            address = ipaddress.ip_address(address)
        except ValueError:
            return "not an IP address"
    address = _unmapped(address)
    if openings.trusts(address):
        return _first(refusal(inner, openings) for inner in _embedded(address))
    if address in METADATA:
        return "metadata address"
    return _listed(address) or _first(refusal(inner, openings) for inner in _embedded(address))


def dial_refusal(target: Target, address: Address | str, openings: Openings) -> str | None:
    """Why this target must not be reached at this address.

    Besides the address itself: plain http and odd ports are for trusted ranges only, unless opened for all.
    """
    if reason := refusal(address, openings):
        return reason
    plain = target.scheme != "https" and not openings.http
    odd_port = target.port not in SAFE_PORTS and not openings.any_port
    if (plain or odd_port) and not openings.trusts(ipaddress.ip_address(address)):
        return "plain http outside of the trusted ranges" if plain else "port outside of the trusted ranges"
    return None


def check_url(url: str, openings: Openings) -> Target:
    """The target of a URL that may be registered. Raises UrlRefused with the reason."""
    parts, port = _split(url)
    host = _normalised_host(parts.hostname or "")
    address = _literal(host)
    if address is not None and (reason := refusal(address, openings)):
        raise UrlRefused(_leads_to(reason))
    trusted = address is not None and openings.trusts(address)
    if address is None:
        trusted = _check_name(host, openings)
    if parts.scheme != "https" and not (openings.http or trusted):
        raise UrlRefused("only https is allowed")
    port = port if port is not None else (443 if parts.scheme == "https" else 80)
    if port not in SAFE_PORTS and not (openings.any_port or trusted):
        raise UrlRefused("only the ports 443 and 8443 are allowed")
    return Target(parts.scheme, host, port, address)


def _split(url: str) -> tuple[SplitResult, int | None]:
    if len(url) > MAX_URL_LENGTH:
        raise UrlRefused(f"it is longer than {MAX_URL_LENGTH} characters")
    # Parsers disagree about these, and a disagreement is a way around the check.
    if any(
        ord(char) <= 0x20 or ord(char) == 0x7F or char == "\\" or unicodedata.category(char) in ("Cc", "Cs")
        for char in url
    ):
        raise UrlRefused("it contains a space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlRefused("it is not a valid URL") from None
    if parts.scheme not in ("https", "http"):
        raise UrlRefused("only https is allowed")
    if "@" in parts.netloc:
        raise UrlRefused("a user name or password is not allowed in it")
    if "#" in url:
        raise UrlRefused("a fragment is not allowed in it")
    if port == 0 or ("[" in parts.netloc and ":" not in (parts.hostname or "")):
        raise UrlRefused("it is not a valid URL")
    return parts, port


def _normalised_host(host: str) -> str:
    """ASCII lower case without the trailing dot; full-width digits and other such forms folded as resolvers fold them."""
    folded = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower()
    if ":" in folded:
        return folded
    folded = folded.removesuffix(".")
    if not folded.isascii():
        try:
            folded = folded.encode("idna").decode("ascii").lower()
        except UnicodeError:
            raise UrlRefused("the host name is not valid") from None
    labels = folded.split(".")
    if len(folded) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("the host name is not valid")
    return folded


def _literal(host: str) -> Address | None:
    """The address that the host spells, None for a name. Only the usual notation is allowed, whatever resolvers accept."""
    try:
        if ":" in host:
            return IPv6Address(host) if "%" not in host else _reject_notation()
        return IPv4Address(host)
    except ValueError:
        # A last label that is a number makes resolvers read the host as an IPv4 address: 127.1, 0x7f.1, 2130706433,
        # 0177.0.0.1
        if ":" in host or _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
            _reject_notation()
        return None


def _reject_notation() -> IPv6Address:
    raise UrlRefused("the address is not written in the usual notation")


def _check_name(host: str, openings: Openings) -> bool:
    """Whether the name is trusted like an opened address. Raises UrlRefused for names that are never public."""
    last = host.rpartition(".")[2]
    if last == "localhost" and openings.trusts(IPv4Address("127.0.0.1")):
        return True
    if last in _PRIVATE_NAMES:
        raise UrlRefused(f"names under .{last} are refused")
    if "." not in host and all(network.is_loopback for network in openings.ranges):
        # Such names are found on private networks alone, so they are for operators who opened one.
        raise UrlRefused("host names without a dot are refused")
    return False


def _leads_to(reason: str) -> str:
    if reason.startswith("not "):
        return f"it does not point to {reason.removeprefix('not ')}"
    return f"it points to {'an' if reason[0] in 'aeiouI' else 'a'} {reason}"


def _unmapped(address: Address) -> Address:
    """The address as it gets dialled: IPv4 out of ::ffff:0:0/96, and no zone (`%eth0`), which would hide it from comparisons."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that a translator or tunnel would make of an IPv6 address."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if address in _NAT64 or (address in _COMPATIBLE and number > 1):
        yield IPv4Address(number & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if (number >> 32) & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(number & 0xFFFFFFFF)


def _listed(address: Address) -> str | None:
    denied: Iterable[tuple[Network, str]] = _DENIED_V4 if isinstance(address, IPv4Address) else _DENIED_V6
    if kind := _first(kind if address in network else None for network, kind in denied):
        return f"{kind} address"
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST_V6:
        return "not a global unicast address"
    return None


def _first(reasons: Iterable[str | None]) -> str | None:
    return next((reason for reason in reasons if reason), None)
