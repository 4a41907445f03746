"""What a key may hold: each check returns the value as the catalog keeps it, or raises ValueError with what it must be."""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

from policies.catalog.model import ENDPOINTS

Check = Callable[[Any], Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
#: No model costs so much; a price above it was most likely written per thousand tokens, or in another currency.
_DEAREST: Final = Decimal(10_000)
_PLACES: Final = 6
_LISTED: Final = 30


def unknown(what: str, name: str, known: Collection[str], listed: Collection[str] | None = None) -> str:
    """Return the message for a name that is none of `known`, with the one that was probably meant, else with some of `listed`."""
    close = difflib.get_close_matches(name[:200], list(known), n=1, cutoff=0.6)
    if close:
        return f'unknown {what} "{name}", did you mean "{close[0]}"?'
    shown = sorted(known if listed is None else listed)
    more = ", …" if len(shown) > _LISTED else ""
    return f'unknown {what} "{name}" (known: {", ".join(shown[:_LISTED]) or "none"}{more})'


def text(limit: int) -> Check:
    """A printable text of 1 to `limit` characters."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not value or len(value) > limit or not value.isprintable():
            raise ValueError(f"must be a text of 1 to {limit} printable characters")
        return value

    return check


def name(value: Any) -> str:
    """A name of a model, deployment or region."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 128 letters, digits or any of . _ : / @ + -, and begin with a letter or digit")
    return value


def model_name(value: Any) -> str:
    """A name that callers may use; `auto` and what begins with `auto:` stand for the choice of a model."""
    found = name(value)
    if found == "auto" or found.startswith("auto:"):
        raise ValueError(f'"{found}" is reserved: it asks for a model to be chosen, see [auto]')
    return found


def env_name(value: Any) -> str:
    """The name of an environment variable."""
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        # The value is not repeated: it may well be the key itself.
        raise ValueError("must be the NAME of an environment variable that holds the key, never the key itself")
    return value


def one_of(known: Collection[str]) -> Check:
    """One of a few words."""

    def check(value: Any) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise ValueError(unknown("value", value if isinstance(value, str) else repr(value)[:200], known))

    return check


def some_of(known: Collection[str], example: str) -> Check:
    """A list of some of a few words, in any order."""

    def check(value: Any) -> frozenset[str]:
        if isinstance(value, list):
            return frozenset(one_of(known)(item) for item in value)
        raise ValueError(f"must be a list, such as {example}")

    return check


def endpoints(value: Any) -> frozenset[str]:
    """One endpoint or more."""
    found: frozenset[str] = some_of(ENDPOINTS, '["/v1/chat/completions"]')(value)
    if not found:
        raise ValueError('must name at least one endpoint, such as ["/v1/chat/completions"]')
    return found


def names(value: Any) -> tuple[str, ...]:
    """A list of different names, in order."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('must be a list of names, such as ["a", "b"]')
    if len(set(value)) < len(value):
        raise ValueError("must not name anything twice")
    return tuple(name(item) for item in value)


def base_url(value: Any) -> str:
    """An http or https URL up to its version, without a secret in it."""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        raise ValueError("must be an http or https URL")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must be an http or https URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("must be an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; name the key's variable in `api_key_env`")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or fragment")
    bare = value.rstrip("/")
    for endpoint in (*ENDPOINTS, "/v1/messages"):
        if bare.endswith(endpoint):
            raise ValueError(f'must stop before the endpoint: "{bare.removesuffix(endpoint)}/v1"')
    return bare


def whole(low: int, high: int) -> Check:
    """A whole number."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return check


def number(low: float, high: float, what: str = "a number") -> Check:
    """A number that need not be exact."""

    def check(value: Any) -> float:
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            try:
                found = float(value)
            except (OverflowError, ValueError):
                found = float("nan")
            # The comparison also refuses nan, which TOML can spell.
            if low <= found <= high:
                return found
        raise ValueError(f"must be {what} from {low:g} to {high:g}")

    return check


def seconds(low: float, high: float) -> Check:
    """A time span."""
    return number(low, high, "a number of seconds")


def money(value: Any) -> Decimal:
    """USD per million tokens, exact."""
    found = exact(value)
    if found is None or not 0 <= found <= _DEAREST or found != round(found, _PLACES):
        raise ValueError(
            f"must be a price in USD per million tokens, from 0 to {_DEAREST}, with at most {_PLACES} places"
        )
    return found


def share(value: Any) -> Decimal:
    """An exact share from 0 to 1."""
    found = exact(value)
    if found is None or not 0 <= found <= 1:
        raise ValueError("must be a share from 0 to 1")
    return found


def exact(value: Any) -> Decimal | None:
    """The number that was written, with as many places; None for nan, infinity and what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    # repr gives back the digits that a float was written with, up to 17 of them.
    found = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return found if found.is_finite() else None


def flag(value: Any) -> bool:
    """True or false."""
    if value is True or value is False:
        return bool(value)
    raise ValueError("must be true or false")


def unless_false(check: Check) -> Check:
    """What `check` allows, or false to have none."""

    def wider(value: Any) -> Any:
        if value is False:
            return None
        try:
            return check(value)
        except ValueError as error:
            raise ValueError(f"{error}; or false") from None

    return wider


Keys = Mapping[str, Check]
