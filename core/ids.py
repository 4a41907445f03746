"""TypeIDs: a prefix that says what a thing is, and a UUIDv7 in Crockford's base32, sortable by time of creation.

Source of the format: TypeID specification 0.3 (prefix, ``_``, 26 characters; the first character is at most ``7``).
"""

import re
from datetime import datetime
from typing import Final
from uuid import UUID

import uuid_utils

JOB: Final = "job"
GROUP: Final = "grp"
SCHEDULE: Final = "sch"
RUN: Final = "run"
ENDPOINT: Final = "we"
DELIVERY: Final = "whd"
EVENT: Final = "evt"
KEY: Final = "key"
TENANT: Final = "ten"

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# Ten bits at a time: half the lookups, and ids are written several times into every answer.
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_SUFFIX = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")


class InvalidId(ValueError):
    """The text is not an id of the kind asked for."""


def new_id() -> UUID:
    """Return a new UUIDv7; ids made by one process rise."""
    return UUID(int=uuid_utils.uuid7().int)


def encode(prefix: str, value: UUID) -> str:
    """Return the TypeID text of ``value``, for example ``job_01h455vb4pex5vsknk084sn02q``."""
    number = value.int
    return f"{prefix}_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])


def decode(prefix: str, text: str) -> UUID:
    """Return the UUID in ``text``.

    Raises:
        InvalidId: when ``text`` has another prefix or is no TypeID.
    """
    head, _, suffix = text.rpartition("_")
    if head != prefix or not _SUFFIX.fullmatch(suffix):
        raise InvalidId(f"not a {prefix}_… id")
    number = 0
    for character in suffix:
        number = number << 5 | _VALUES[character]
    return UUID(int=number)


def floor_of(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of the millisecond of ``moment``: the bound of a range of ids by time.

    Args:
        moment: an aware datetime.
    """
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return UUID(int=milliseconds << 80)
