"""GET /v1/usage: what the caller's tenant used and spent, by day, key, model, endpoint or lane."""

from datetime import UTC, date, datetime
from typing import Any, Final

from api.answers import Answer, json_answer
from api.auth import JOBS_READ
from api.lookup import query_id
from api.problems import invalid_query
from api.routing import Call, needs
from core import ids
from core.store.usage import read_usage
from policies.costs import as_text

GROUPS: Final = ("day", "key", "model", "endpoint", "lane")
_DEFAULT_DAYS: Final = 30
_MOST_DAYS: Final = 400


@needs(JOBS_READ)
async def get_usage(call: Call) -> Answer:
    """Return what finished jobs used, summed as asked for; days are UTC days of the jobs' ends."""
    query = call.query("from", "to", "group_by", "key_id", "model")
    last = _day(query, "to") or datetime.now(UTC).date()
    first = _day(query, "from") or date.fromordinal(max(1, last.toordinal() - _DEFAULT_DAYS + 1))
    if first > last:
        raise invalid_query("from", "from is not after to.")
    if (last - first).days >= _MOST_DAYS:
        raise invalid_query("from", f"At most {_MOST_DAYS} days can be asked for at once.")
    groups = _groups(query.get("group_by", "day,model"))
    tenant = call.key.tenant_id
    key = query_id(query, "key_id", ids.KEY)
    rows = await read_usage(call.services.engine, tenant, first, last, groups, key=key, model=query.get("model"))
    whole = await read_usage(call.services.engine, tenant, first, last, (), key=key, model=query.get("model"))
    told = {
        "object": "usage",
        "from": first.isoformat(),
        "to": last.isoformat(),
        "group_by": list(groups),
        "data": [_row(row, groups) for row in rows],
        "total": _row(whole[0], ()) if whole else None,
    }
    return json_answer(told, headers=[(b"cache-control", b"no-store")])


def _groups(text: str) -> tuple[str, ...]:
    groups = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if any(group not in GROUPS for group in groups):
        raise invalid_query("group_by", f"group_by names some of {', '.join(GROUPS)}, with commas between.")
    return groups


def _day(query: dict[str, str], name: str) -> date | None:
    if name not in query:
        return None
    try:
        return date.fromisoformat(query[name])
    except ValueError:
        raise invalid_query(name, f"{name} is a day such as 2026-11-20.") from None


def _row(row: dict[str, Any], groups: tuple[str, ...]) -> dict[str, Any]:
    by: dict[str, Any] = {}
    for group in groups:
        value = row[group]
        if group == "day":
            by["day"] = value.isoformat()
        elif group == "key":
            by["key_id"] = None if value is None else ids.encode(ids.KEY, value)
        else:
            by[group] = value
    priced = row["unpriced_jobs"] < row["jobs"] - row["failed"]
    return by | {
        "jobs": row["jobs"],
        "failed": row["failed"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "cached_tokens": row["cached_tokens"],
        "total_tokens": row["input_tokens"] + row["output_tokens"],
        "saved_tokens": row["saved_tokens"],
        # Nothing is known of the cost when no job had a price, which is not the same as no cost.
        "cost_usd": as_text(row["cost_usd"]) if priced or row["cost_usd"] else None,
        "unpriced_jobs": row["unpriced_jobs"],
    }
