"""`semantic`: near hits over HTTP, with 100,000 questions in the tenant's one partition."""

import io
import itertools
import json
import math
import os
import random
import struct
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import uvloop
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import jobs
from bench.figures import Figure, Must, median, percentile
from bench.load.open_loop import Answered, Crowd
from bench.load.order import Order, run
from bench.world import World
from core.embedding import shared_embedder
from policies.likeness import THRESHOLDS, differs, signature

_PAIRS: Final = Path(__file__).parents[2] / "training" / "similarity" / "pairs.jsonl"
_PATH: Final = "/v1/jobs"
# Of each kind: pairs that people have written, far from what lies in the table, and of the kind that fills it.
_PAIRS_EACH: Final = 50
_ASKED, _ASKED_AGAIN = "How do I ", "How can I "
_HITS: Final = "SELECT count(*) FROM jobs WHERE status = 'succeeded' AND cache ->> 'status' = 'semantic_hit'"
_INDEX: Final = "SELECT indexdef FROM pg_indexes WHERE indexname = 'semantic_entries_vector_idx'"
_PARTITIONS: Final = text("SELECT DISTINCT tenant_id, partition, embedder FROM semantic_entries")
_COLUMNS: Final = (
    "tenant_id",
    "partition",
    "embedder",
    "cache_key",
    "question",
    "vector",
    "signature",
    "created_at",
    "expires_at",
)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)

_OPENINGS: Final = (
    "How do I", "Where can I", "When may I", "Who helps me to", "What does it cost to", "Is there a form to", "Why can't I",
    "How long does it take to", "Am I allowed to", "What do I need to", "Which page lets me", "Can my brother",
    "Is it safe to", "Do I have to pay to", "How often should I", "In which shop can I", "May students", "Does anybody ever",
    "What happens when I", "How many points do I get to",
)  # fmt: skip
_ACTIONS: Final = (
    "order", "repair", "clean", "borrow", "sell", "measure", "paint", "insure", "ship", "hide", "compare", "register", "weigh",
    "photograph", "collect", "store", "move", "rent", "test", "replace", "describe", "lock", "open", "fold", "heat", "cool",
    "label", "count", "sort", "recycle", "import", "donate", "exchange", "upgrade", "assemble", "carry", "charge", "polish",
    "sharpen", "wrap", "inspect", "reserve", "announce", "translate", "print", "scan", "mount", "water", "trade", "decorate",
)  # fmt: skip
_THINGS: Final = (
    "a tent", "a violin", "the balcony", "two bicycles", "an old map", "the kitchen table", "a snowboard", "my raincoat",
    "a telescope", "the garden fence", "a canoe", "an accordion", "the attic", "a chess set", "three lamps", "a fish tank",
    "the piano", "a sewing machine", "a beehive", "the roof box", "an umbrella", "a typewriter", "the sandpit", "a hammock",
    "a globe", "six chairs", "the wine rack", "a drum", "an easel", "the mirror", "a kite", "a wheelbarrow", "the carpet",
    "a saddle", "an anchor", "the chandelier", "a compass", "a loom", "the bookshelf", "a rowing machine", "ten candles",
    "the projector", "a birdhouse", "an oven", "the swing", "a ladder", "a microscope", "the curtains", "a toolbox", "a trophy",
    "a doll's house", "the stamps", "a barometer", "an axe", "the wardrobe", "a trombone", "a puppet", "the lawn", "a sledge",
    "four tyres", "the cellar", "a lantern", "a harp", "an hourglass", "the doorbell", "a skateboard", "a terrarium", "the bench",
    "a flagpole", "a cradle", "the jukebox", "a model ship", "an armchair", "the sauna", "a bow", "a mosaic", "the gutter",
    "a churn", "a gramophone", "the trampoline", "a quilt", "an amplifier", "the weathercock", "a fountain", "a marquee",
    "the turntable", "a periscope", "an abacus", "the greenhouse", "a rocking horse", "a pottery wheel", "the fireplace",
    "a metronome", "a cuckoo clock", "the dinghy", "a xylophone", "an antenna", "the hedge", "a sundial", "a wind chime",
)  # fmt: skip
_CASES: Final = (
    "", "in winter", "for my mother", "after a flood", "without a car", "on a boat", "at night", "with one hand", "abroad",
    "in a small flat", "for a wedding", "before the holidays", "by train", "in the rain", "for the first time", "at school",
    "with a dog", "on a steep hill", "in a museum", "for a friend in hospital", "by post", "on Sundays", "for the theatre",
    "next to a railway", "in a tent", "as a beginner", "for the neighbours", "on an island", "in a hurry", "from abroad",
)  # fmt: skip


def measure(world: World) -> list[Figure]:
    """Have some answers made by a worker, put many questions beside them, and ask for the same in other words."""
    entries, asked = world.sizes.semantic_entries, world.sizes.semantic_posts
    filling = questions(entries)
    own = [(each, each.replace(_ASKED, _ASKED_AGAIN, 1)) for each in filling if each.startswith(_ASKED)][:_PAIRS_EACH]
    pairs = [*_written(), *own]
    asked_before = {question for question, _ in pairs}
    filling = [question for question in filling if question not in asked_before]
    jobs.empty(world)
    with world.api() as (_, port), world.worker():
        world.say(f"{len(pairs)} answers are made and kept, with their questions")
        first = [_request(question) for question, _ in pairs]
        told = run(Order("prefer", "127.0.0.1", port, _PATH, first, world.key, requests=len(first), prefer_wait=20))
        if told["failures"]:
            raise RuntimeError(f"not every answer was made: {told['last_body']}")
        world.say(f"{entries:,} questions are put beside them")
        began = time.monotonic()
        jobs.in_database(world, lambda engine: _fill(engine, filling[: entries - len(pairs)]))
        filled_s = time.monotonic() - began
        stored = jobs.scalar(world, "SELECT count(*) FROM semantic_entries")
        jobs.empty(world, workers_run=True)
        world.say(f"one client asks {asked} times in other words")
        others = [_request(question) for _, question in pairs]
        answers = uvloop.run(_ask(world, f"http://127.0.0.1:{port}", others, asked))
        stored_hits = jobs.scalar(world, _HITS)
    # They would be found by nobody else, and take memory.
    jobs.in_database(world, _forget)
    return _figures(answers, stored_hits, stored, filled_s)


async def _ask(world: World, url: str, bodies: Sequence[str], count: int) -> list[Answered]:
    """Ask one after the other, again and again; what was found near once is found near again."""
    async with Crowd(url, world.key) as crowd:
        requests = itertools.cycle([crowd.post(_PATH, body.encode()) for body in bodies])
        return [await crowd.send(request) for request in itertools.islice(requests, count)]


def _figures(answers: Sequence[Answered], stored_hits: object, stored: object, filled_s: float) -> list[Figure]:
    near = [answer.took_ms for answer in answers if answer.status == 200 and _status(answer) == "semantic_hit"]
    found = [_status(answer) == "semantic_hit" for answer in answers[: 2 * _PAIRS_EACH]]
    note = (
        f"{stored:,} questions of one tenant and partition in Postgres, with real vectors (pgvector, index as shipped; filled "
        f"and indexed in {filled_s:.0f} s); {len(found)} of them asked before through a worker and now in other words, pairs "
        f"that the guard lets pass: half of them of the kind that fills the table, half written by hand, which lie apart from "
        f"all others; {stored_hits} semantic hits stored; one client, one request after the other, hits only"
    )
    p50, p99 = (median(near), percentile(near, 0.99)) if stored_hits == len(near) else (math.nan, math.nan)
    written, own = found[:_PAIRS_EACH], found[_PAIRS_EACH:]
    return [
        Figure("semantic", f"semantic hit among {stored:,}, one client, p50", p50, "ms", Must("≤", 6), note=note),
        Figure("semantic", "the same, p99", p99, "ms"),
        Figure("semantic", "found, of the kind that fills the table", 100 * sum(own) / len(own), "%"),
        Figure("semantic", "found, far from all others", 100 * sum(written) / len(written), "%"),
    ]


def _status(answer: Answered) -> str:
    return str((answer.json["cache"] or {}).get("status"))


def _request(question: str) -> str:
    body: dict[str, Any] = {"model": jobs.MODEL, "messages": [{"role": "user", "content": question}], "temperature": 0}
    body["sim"] = {"latency_ms": 0}
    return json.dumps({"endpoint": jobs.ENDPOINT, "body": body, "cache": {"semantic": True}})


def _written() -> list[tuple[str, str]]:
    """Return questions with the same in other words, of those that the shipped settings let pass, and no question twice."""
    embedder = shared_embedder()
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    for line in _PAIRS.read_text(encoding="utf-8").splitlines():
        pair = json.loads(line)
        one, other = pair["a"], pair["b"]
        if not pair["same"] or {one, other} & seen or differs(one, other) is not None:
            continue
        vectors = embedder.embed([one, other]).vectors
        if float(vectors[0] @ vectors[1]) >= THRESHOLDS["wordllama"]:
            found.append((one, other))
            seen |= {one, other}
    return found[:_PAIRS_EACH]


def questions(count: int) -> list[str]:
    """Return different questions, the same ones every time."""
    rng = random.Random(4)
    made: dict[str, None] = {}
    while len(made) < count:
        opening, action, thing, case = (rng.choice(words) for words in (_OPENINGS, _ACTIONS, _THINGS, _CASES))
        made[f"{opening} {action} {thing} {case}".rstrip() + "?"] = None
    return list(made)


async def _fill(engine: AsyncEngine, filling: Sequence[str]) -> None:
    """Add questions to the partition that the worker has made. The index is made anew afterwards."""
    async with engine.connect() as connection:
        index = (await connection.execute(text(_INDEX))).scalar_one()
        [(tenant, partition, embedder)] = (await connection.execute(_PARTITIONS)).all()
    # Between transactions: it takes longer than one of them may stand idle.
    rows = io.BytesIO(b"".join(_copied(tenant, partition, embedder, filling)))
    async with engine.connect() as connection:
        await connection.execute(text("DROP INDEX semantic_entries_vector_idx"))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.copy_to_table("semantic_entries", source=rows, columns=_COLUMNS, format="binary")
        for setting in ("statement_timeout = 0", "maintenance_work_mem = '512MB'"):
            await connection.execute(text(f"SET LOCAL {setting}"))
        await connection.execute(text(index))
        await connection.commit()
    async with engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(text("VACUUM ANALYZE semantic_entries"))


async def _forget(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE semantic_entries"))


def _copied(tenant: UUID, partition: bytes, embedder: str, asked: Sequence[str]) -> Iterator[bytes]:
    """Yield what COPY reads in its binary format; each with a vector of its own and a key that no answer has."""
    vectors = shared_embedder().embed(asked).vectors.astype(">f4")
    now = datetime.now(UTC)
    until = now + timedelta(days=1)
    yield b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
    for question, vector in zip(asked, vectors, strict=True):
        packed = struct.pack("!HH", len(vector), 0) + vector.tobytes()
        key = b"\x01" + os.urandom(32)
        words = signature(question, partition)
        texts = (embedder.encode(), key, question.encode(), packed, words)
        values = (tenant.bytes, partition, *texts, _moment(now), _moment(until))
        yield struct.pack("!h", len(values)) + b"".join(struct.pack("!i", len(value)) + value for value in values)
    yield struct.pack("!h", -1)


def _moment(at: datetime) -> bytes:
    return struct.pack("!q", round((at - _EPOCH).total_seconds() * 1_000_000))
