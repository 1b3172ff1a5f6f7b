"""What an edit of a schedule changes in the near future, told before it is saved.

Compares instants only: pairs those that read as one run at another time, and counts the rest.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

HORIZON = timedelta(days=30)
# A week further on is the next run of a weekly schedule, not the same one moved.
MOVES_LESS_THAN = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Moved:
    """One run at another time; aware UTC."""

    before: datetime
    after: datetime


@dataclass(frozen=True, slots=True)
class Impact:
    """The difference of two schedules up to and including `until`; all instants aware UTC, in order."""

    appears: tuple[datetime, ...]
    disappears: tuple[datetime, ...]
    moved: tuple[Moved, ...]
    unchanged: int
    until: datetime
    is_cut: bool  # `until` is nearer than asked: there were too many runs


def compare_instants(
    before: Sequence[datetime], after: Sequence[datetime], time_zone: str, until: datetime, is_cut: bool
) -> Impact:
    """What changes when the instants `after` take the place of `before`; both distinct and none beyond `until`.

    All aware UTC. An instant in both is unchanged. Of the others, the k-th of a date moves to the k-th of that date in
    `time_zone`; if as many are left over on both sides, they move in order, unless one would move by a week. One more
    on either side, whose twin lies beyond `until`, is no obstacle when all others move by as many days.
    """
    kept = set(before) & set(after)
    old = [at for at in sorted(before) if at not in kept]
    new = [at for at in sorted(after) if at not in kept]
    moved = _paired_by_date(old, new, ZoneInfo(time_zone))
    old, new = _without(old, [move.before for move in moved]), _without(new, [move.after for move in moved])
    in_order = [Moved(*pair) for pair in zip(old, new, strict=False)]
    if _are_moves(in_order, len(old) - len(new), ZoneInfo(time_zone)):
        moved, old, new = moved + in_order, old[len(in_order) :], new[len(in_order) :]
    moved.sort(key=lambda move: move.before)
    return Impact(tuple(new), tuple(old), tuple(moved), len(kept), until, is_cut)


def summarise(impact: Impact, horizon: timedelta = HORIZON, zone: ZoneInfo | None = None) -> str:
    """One sentence for a person: "4 runs move, 2 appear, 1 disappears in the next 30 days".

    `horizon`, in whole days, is the one that was compared. A cut comparison tells how far it went instead, in the
    reader's zone if one is given, otherwise in UTC.
    """
    counts = {"move": len(impact.moved), "appear": len(impact.appears), "disappear": len(impact.disappears)}
    changes = [f"{count} {verb}{'s' if count == 1 else ''}" for verb, count in counts.items() if count]
    words = ", ".join(changes).replace(" ", " run " if changes and changes[0].startswith("1 ") else " runs ", 1)
    return f"{words or 'nothing changes'} {_extent(impact, horizon, zone)}"


def _extent(impact: Impact, horizon: timedelta, zone: ZoneInfo | None) -> str:
    if impact.is_cut:
        until = impact.until.astimezone(zone or UTC)
        name = "" if zone else " UTC"
        return f"until {until:%a} {until.day} {until:%b, %H:%M}{name} (too many runs to compare further)"
    return "in the next day" if horizon.days == 1 else f"in the next {horizon.days} days"


def _are_moves(pairs: list[Moved], surplus: int, zone: ZoneInfo) -> bool:
    if any(abs(pair.after - pair.before) >= MOVES_LESS_THAN for pair in pairs):
        return False
    days = {pair.after.astimezone(zone).date() - pair.before.astimezone(zone).date() for pair in pairs}
    return surplus == 0 or (abs(surplus) == 1 and len(pairs) > 1 and len(days) == 1)


def _paired_by_date(old: list[datetime], new: list[datetime], zone: ZoneInfo) -> list[Moved]:
    new_by_date = _by_date(new, zone)
    return [
        Moved(*pair)
        for day, old_ones in _by_date(old, zone).items()
        for pair in zip(old_ones, new_by_date.get(day, []), strict=False)
    ]


def _by_date(instants: list[datetime], zone: ZoneInfo) -> dict[date, list[datetime]]:
    found: defaultdict[date, list[datetime]] = defaultdict(list)
    for at in instants:
        found[at.astimezone(zone).date()].append(at)
    return found


def _without(instants: list[datetime], taken: list[datetime]) -> list[datetime]:
    gone = set(taken)
    return [at for at in instants if at not in gone]
