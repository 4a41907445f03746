"""From the text in a path or query to the object it names, or to a page of them."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

from api.answers import Answer, Headers, json_answer
from api.problems import invalid_query, not_found
from api.routing import Call
from core import ids

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100

T = TypeVar("T")


def path_id(call: Call, prefix: str, what: str) -> UUID:
    """Return the id in the path.

    Raises:
        Problem: 404 when it is not the canonical text of such an id: nothing can be found under it.
    """
    try:
        return ids.decode(prefix, call.path_params["id"])
    except ids.InvalidId:
        raise not_found(what) from None


def query_id(query: dict[str, str], name: str, prefix: str) -> UUID | None:
    """Return the id in a query parameter.

    Raises:
        Problem: 422.
    """
    text = query.get(name)
    if text is None:
        return None
    try:
        return ids.decode(prefix, text)
    except ids.InvalidId:
        raise invalid_query(name, f"{name} is not a {prefix}_… id.") from None


def page_size(query: dict[str, str]) -> int:
    """Return `?limit=`, 1 to 100.

    Raises:
        Problem: 422.
    """
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise invalid_query("limit", f"limit is a number from 1 to {MAX_LIMIT}.")
    return int(text)


def page_answer(found: Sequence[T], limit: int, render: Callable[[T], dict[str, Any]], headers: Headers = ()) -> Answer:
    """Return a page: the first `limit` of what was found. Whoever looks for one more than that knows whether there are more."""
    data = [render(item) for item in found[:limit]]
    return json_answer(
        {
            "object": "list",
            "data": data,
            "has_more": len(found) > limit,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        },
        headers=headers,
    )
