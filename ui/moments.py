"""Instants and durations in words: "Mon 23 Nov, 09:00", "in 5 h", "2 min 4 s", "12 ms"."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

_DAY = 86400
# from this many seconds on, in units of this many seconds
_STEPS = (
    (_DAY * 730, _DAY * 365, "y"),
    (_DAY * 90, _DAY * 30, "mo"),
    (_DAY, _DAY, "d"),
    (3600, 3600, "h"),
    (60, 60, "min"),
)


def exact(at: datetime, zone: ZoneInfo, now: datetime) -> str:
    """Day and time in the zone; the year only when it is another one than now's."""
    local = at.astimezone(zone)
    year = f" {local.year}" if local.year != now.astimezone(zone).year else ""
    return f"{local:%a} {local.day} {local:%b}{year}, {local:%H:%M}"


def clock_offset(local: datetime) -> str:
    """The offset from UTC at an aware moment, as "+05:30"."""
    return local.isoformat()[-6:] if local.utcoffset() else "+00:00"


def relative(at: datetime, now: datetime) -> str:
    """How far away, in the largest unit that fits: "in 5 h", "3 min ago", "now"."""
    seconds = (at - now).total_seconds()
    size = abs(seconds)
    if size < 10:
        return "now"
    if size < 60:
        words = f"{int(size)} s"
    else:
        unit_seconds, unit = next((seconds_a_unit, unit) for least, seconds_a_unit, unit in _STEPS if size >= least)
        words = f"{int(size // unit_seconds)} {unit}"
    return f"in {words}" if seconds > 0 else f"{words} ago"


def both(at: datetime | None, zone: ZoneInfo, now: datetime) -> str:
    """Exact and relative together; a dash when there is no instant."""
    return "–" if at is None else f"{exact(at, zone, now)} · {relative(at, now)}"


def duration(span: timedelta | None) -> str:
    """A length of time; a dash when there is none."""
    if span is None:
        return "–"
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{int(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
