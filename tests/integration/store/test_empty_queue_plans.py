"""Plans that are made while the queue is empty, and kept when it fills: they may not compare all jobs with all."""

import re

import pytest
from sqlalchemy import text

from core.store.statements import statement
from tests.support.store import Store

PLACES = ("ready", "waiting", "held_back", "running")
STATEMENTS = ["claim", "finish", "requeue", "lose", "due", "expire", "enter", "cancel", "cache_coalesce"]


async def plan_of(store: Store, name: str) -> list[str]:
    """The plan of a process that first ran this statement in a quiet hour; like all of its plans it knows none of the values."""
    async with store.owner.execution_options(isolation_level="AUTOCOMMIT").connect() as owner:
        for place in PLACES:
            await owner.exec_driver_sql(f"VACUUM {place}")
    sql = str(statement(name))
    values = list(dict.fromkeys(re.findall(r"(?<![:\w]):([a-z_]+)", sql)))
    for number, value in enumerate(values, 1):
        sql = re.sub(rf"(?<![:\w]):{value}\b", f"${number}", sql)
    engine = store.api if name in ("cancel", "cache_coalesce") else store.worker
    async with engine.connect() as connection:
        await connection.exec_driver_sql(f"PREPARE planned AS {sql}")
        nothing = f"({', '.join(['NULL'] * len(values))})" if values else ""
        plan = (await connection.execute(text(f"EXPLAIN EXECUTE planned {nothing}"))).scalars().all()
        await connection.exec_driver_sql("DEALLOCATE planned")
    return list(plan)


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_plan_made_for_an_empty_queue_removes_places_by_index(store: Store, name: str) -> None:
    plan = "\n".join(await plan_of(store, name))
    removals = [part for part in re.split(r"\n  CTE ", plan) if re.search(rf"Delete on ({'|'.join(PLACES)})\b", part)]
    assert removals
    assert not [part for part in removals if "Join Filter" in part]


async def test_a_cancel_of_a_large_group_compares_no_job_with_every_running_one(store: Store) -> None:
    assert not [line for line in await plan_of(store, "cancel") if "Join Filter" in line]
