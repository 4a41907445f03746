"""When a cron expression fires in a time zone, daylight saving time included.

``cronsim`` follows Debian's cron: what stands for a fixed time of day happens once a day, also when the clock skips that time
(then right after it) or shows it twice (then the first time); what stands for every so many minutes or hours goes by elapsed
time. An expression has five fields: minute, hour, day of month, month, day of week.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_LONGEST: Final = 200
_FIELDS: Final = 5
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(?:/[A-Za-z0-9_+-]{1,31}){0,3}", re.ASCII)
# Not places: the machine's own zone, and the trees of the database with other leap seconds.
_NO_ZONES: Final = ("localtime", "posixrules", "Factory", "right/", "posix/")


class CronError(ValueError):
    """The expression can't be read, or never fires."""


class ZoneError(ValueError):
    """There is no such time zone."""


@lru_cache(maxsize=512)
def zone(name: str) -> ZoneInfo:
    """Return the time zone of the IANA database, such as ``Europe/Berlin``.

    Raises:
        ZoneError: when there is none of this name.
    """
    if _ZONE.fullmatch(name) and not name.startswith(_NO_ZONES):
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # KeyError: unknown; OSError: the name of a folder, such as Europe
            pass
    raise ZoneError(f"There is no time zone {name[:64]!r}; use a name such as Europe/Berlin")


def fires(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """Yield the times, in UTC and rising, at which ``cron`` fires later than ``after`` (an aware datetime).

    Raises:
        CronError: when the expression can't be read.
        ZoneError: when there is no such time zone.
    """
    local = zone(timezone)
    if len(cron) > _LONGEST or not cron.isascii() or len(cron.split()) != _FIELDS:
        raise CronError("A cron expression has five fields: minute, hour, day of month, month, day of week")
    begin = after.astimezone(UTC)
    try:
        times = CronSim(cron, begin.astimezone(local))
    except CronSimError as error:
        raise CronError(f"The cron expression can't be read: {str(error).lower()}") from None
    return _rising(times, begin)


def _rising(times: Iterator[datetime], last: datetime) -> Iterator[datetime]:
    # Begun in the second of two equal hours, the first answer may lie in the first of them.
    for local in times:
        fire = local.astimezone(UTC)
        if fire > last:
            last = fire
            yield fire


def next_fire(cron: str, timezone: str, after: datetime) -> datetime:
    """Return the first time later than ``after``.

    Raises:
        CronError: when there is none within 50 years, or the expression can't be read.
        ZoneError: when there is no such time zone.
    """
    for fire in fires(cron, timezone, after):
        return fire
    raise CronError("The cron expression never fires")


def next_fires(cron: str, timezone: str, after: datetime, most: int) -> list[datetime]:
    """Return up to ``most`` times later than ``after``; raises as ``fires`` does."""
    return list(islice(fires(cron, timezone, after), most))


def fires_until(cron: str, timezone: str, after: datetime, last: datetime, most: int = 1000) -> list[datetime]:
    """Return the times later than ``after`` and not later than ``last``, at most ``most``; raises as ``fires`` does."""
    found: list[datetime] = []
    for fire in islice(fires(cron, timezone, after), most):
        if fire > last:
            break
        found.append(fire)
    return found
