"""An entry as a request wants it: embeddings that were kept as numbers answer a request for base64, and the other way round."""

import asyncio
from dataclasses import replace
from typing import Final

import orjson

from core.cache.entries import Entry
from policies.encodings import BASE64, EMBEDDINGS, ENCODINGS, FLOAT, NotRecodable, encoding_of, recoded

_IN_THREAD_BYTES: Final = 64 * 1024
# Answers are written without spaces, and within a text the quotes would carry backslashes.
_PACKED: Final = '"embedding":"'
_NUMBERS: Final = '"embedding":['


async def as_asked(entry: Entry, endpoint: str, body: str) -> Entry | None:
    """Return the entry in the encoding that a request asks for; None when its answer cannot be told in that one.

    Args:
        entry: what was kept under the request's key, which is the same for both encodings.
        endpoint: such as `/v1/embeddings`; all others have one encoding.
        body: the request, as JSON text.
    """
    if endpoint != EMBEDDINGS:
        return entry
    encoding = asked_encoding(body)
    if encoding not in ENCODINGS or (_NUMBERS if encoding == BASE64 else _PACKED) not in entry.result:
        return entry
    try:
        if len(entry.result) > _IN_THREAD_BYTES:
            return await asyncio.to_thread(_recoded, entry, encoding)
        return _recoded(entry, encoding)
    except NotRecodable:
        return None


def asked_encoding(body: str) -> str:
    """Return how an embeddings request, as JSON text, wants its answer."""
    # Hardly any request names it, and a long one takes longer to parse than to search.
    return encoding_of(orjson.loads(body)) if '"encoding_format"' in body else FLOAT


def _recoded(entry: Entry, encoding: str) -> Entry:
    answer = recoded(orjson.loads(entry.result), encoding)
    return replace(entry, result=orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY).decode())
