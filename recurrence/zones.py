"""IANA time zones: their names, and how wall times map to instants around offset changes.

Nothing here knows about schedules. Instants are aware UTC, wall times are naive. Importing this module makes
the pinned tzdata package the only source of zones in the process.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import Enum
from functools import cache
from importlib import resources
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones, reset_tzpath

import tzdata

from recurrence.errors import InvalidScheduleError, quoted

# zoneinfo would ask the operating system first, whose rules are as old as its last update: two schedulers on
# two machines would then fire one job at different instants. Zones read before this import are read anew.
reset_tzpath(to=())
ZoneInfo.clear_cache()

NOT_PLACES = {"Factory", "localtime"}  # names that mean "unset" and "whatever this machine has"
SECOND = timedelta(seconds=1)


class Passage(Enum):
    """How often a clock on the wall shows a time of day on its date."""

    ONCE = "once"
    MISSING = "missing"
    TWICE = "twice"


class Resolved(NamedTuple):
    instant: datetime
    passage: Passage


def zone_rules_version() -> str:
    """Which edition of IANA's rules decides here, such as "2026f"."""
    return tzdata.IANA_VERSION


@cache
def known_names() -> frozenset[str]:
    return frozenset(available_timezones() - NOT_PLACES)


@cache
def _zone_names() -> tuple[str, ...]:
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return tuple(sorted(({row[2] for row in rows} & known_names()) | {"UTC"}))


def time_zones() -> list[str]:
    """Sorted names to pick from: one per country and region (IANA's zone.tab), and UTC; no aliases."""
    return list(_zone_names())


def checked_time_zone(name: object) -> str:
    """`name` if it is an IANA time zone, aliases included; otherwise InvalidScheduleError."""
    if not isinstance(name, str):
        raise InvalidScheduleError(
            f'time zone {quoted(name)} is not text: allowed an IANA name, such as "Europe/London"'
        )
    if not name:
        raise InvalidScheduleError('time zone is empty: allowed an IANA name, such as "Europe/London"')
    if name in known_names():
        return name
    by_folded = {known.casefold(): known for known in sorted(known_names())}
    near = get_close_matches(name[:60].strip().casefold().replace(" ", "_"), by_folded, n=1)
    hint = f'did you mean "{by_folded[near[0]]}"?' if near else 'allowed an IANA name, such as "Europe/London"'
    raise InvalidScheduleError(f"unknown time zone {quoted(name)}; {hint}")


def resolve(zone: ZoneInfo, wall: datetime) -> Resolved:
    """The instant of a wall time: its first passing, or the first whole minute after the gap it is in."""
    before = _offset(wall.replace(tzinfo=zone))
    after = _offset(wall.replace(tzinfo=zone, fold=1))
    if before == after:
        return Resolved((wall - before).replace(tzinfo=UTC), Passage.ONCE)
    if before > after:  # PEP 495: fold=0 is the earlier passing in an overlap
        return Resolved((wall - before).replace(tzinfo=UTC), Passage.TWICE)
    change = _offset_change(zone, (wall - after).replace(tzinfo=UTC), (wall - before).replace(tzinfo=UTC))
    resumed = to_wall(zone, change)
    if resumed.second:  # offsets had odd seconds until 1972
        change += timedelta(seconds=60 - resumed.second)
    return Resolved(change, Passage.MISSING)


def passage_of(local: datetime) -> Passage:
    """Whether the wall time of an aware local datetime passes once or twice."""
    twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return Passage.TWICE if twice else Passage.ONCE


def to_wall(zone: ZoneInfo, instant: datetime) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def constant_offsets(zone: ZoneInfo, start: datetime, stop: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Split [start, stop) into pieces of one offset each; no zone changes twice within a day."""
    before, after = _offset(start.astimezone(zone)), _offset(stop.astimezone(zone))
    if before == after:
        yield start, stop, before
        return
    change = _offset_change(zone, start, stop)
    yield start, change, before
    yield change, stop, after


def _offset_change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The first second in (low, high] with another offset than at `low`."""
    before = _offset(low.astimezone(zone))
    while high - low > SECOND:
        middle = low + timedelta(seconds=(high - low) // SECOND // 2)
        if _offset(middle.astimezone(zone)) == before:
            low = middle
        else:
            high = middle
    return high


def _offset(local: datetime) -> timedelta:
    offset = local.utcoffset()
    assert offset is not None, "every ZoneInfo has an offset for a full datetime"
    return offset
