"""Calendars: named days off that jobs keep. Everybody may choose one; its owner and admins change it.

They hold no secrets. A calendar that a job keeps cannot be deleted: the job would silently run on its days.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache

from sqlalchemy import ColumnElement, Select, cast, delete, func, insert, select, text
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger

import recurrence
from db.audit import record_audit
from db.errors import ConflictError, NotAllowedError, NotFoundError, PunctualError
from db.models import Calendar, CalendarDay, Job, User
from db.sign_in_throttle import is_storable
from db.viewers import Viewer
from recurrence import DayOff

MAX_NAME_CHARACTERS = 80
MAX_DAYS = 5000
WEEKDAYS = frozenset(range(7))  # 0 = Sunday
WEEKEND = frozenset({0, 6})


class InvalidCalendarError(PunctualError):
    """This cannot be a calendar."""


@dataclass(frozen=True)
class CalendarDraft:
    """What a calendar is to hold. With a country, its public holidays come beside the listed days."""

    name: str
    days: Sequence[DayOff] = ()
    time_zone: str | None = None
    weekend: frozenset[int] = field(default=WEEKEND)
    country: str | None = None
    subdivision: str | None = None


@dataclass(frozen=True)
class CalendarSummary:
    """A calendar in a list; `jobs` counts those of everybody."""

    calendar: Calendar
    owner: str | None
    days: int
    jobs: int


def create_calendar(session: Session, viewer: Viewer, draft: CalendarDraft, *, now: datetime) -> Calendar:
    """Store a calendar.

    Raises NotAllowedError, InvalidCalendarError, recurrence.InvalidScheduleError, ConflictError.
    """
    if not viewer.may_write:
        raise NotAllowedError
    _check(draft)
    calendar = Calendar(user_id=viewer.user_id, created_at=now, updated_at=now)
    _fill(session, calendar, draft)
    _replace_days(session, calendar, draft.days)
    record_audit(session, viewer.user_id, "calendar created", f"calendar {calendar.id}", after=_audited(draft))
    return calendar


def update_calendar(
    session: Session,
    viewer: Viewer,
    calendar_id: int,
    draft: CalendarDraft,
    *,
    now: datetime,
    expected_version: int | None = None,
) -> Calendar:
    """Replace what the calendar holds; schedules that keep it follow from now on.

    Raises as `create_calendar`, NotFoundError, and ConflictError when somebody changed it since that version.
    """
    calendar = _lock_calendar(session, viewer, calendar_id)
    if expected_version is not None and calendar.version != expected_version:
        raise ConflictError("this calendar was changed meanwhile; reload it and make your change again")
    _check(draft)
    before = _audited(draft_of(calendar, list_days(session, calendar_id)))
    calendar.updated_at = now
    calendar.version += 1
    _fill(session, calendar, draft)
    _replace_days(session, calendar, draft.days)
    subject = f"calendar {calendar.id}"
    record_audit(session, viewer.user_id, "calendar edited", subject, before=before, after=_audited(draft))
    return calendar


def delete_calendar(session: Session, viewer: Viewer, calendar_id: int) -> None:
    """Delete a calendar that no job keeps. Raises NotFoundError, NotAllowedError, ConflictError."""
    calendar = _lock_calendar(session, viewer, calendar_id)
    count = _count_jobs(session, calendar_id)
    if count:
        jobs = "1 job keeps" if count == 1 else f"{count} jobs keep"
        raise ConflictError(f"{jobs} this calendar; take it out of them first")
    record_audit(session, viewer.user_id, "calendar deleted", f"calendar {calendar.id}", before={"name": calendar.name})
    session.delete(calendar)
    session.flush()


def get_calendar(session: Session, calendar_id: int) -> Calendar:
    """One calendar; they are everybody's to see. Raises NotFoundError."""
    calendar = session.get(Calendar, calendar_id)
    if calendar is None:
        raise NotFoundError("there is no such calendar")
    return calendar


def list_days(session: Session, calendar_id: int) -> list[DayOff]:
    """The listed days and ranges, by date; a country's holidays are not among them."""
    rows = session.scalars(_listed().where(CalendarDay.calendar_id == calendar_id))
    return [DayOff(row.starts_on, row.ends_on, row.name) for row in rows]


def list_calendars(session: Session) -> list[CalendarSummary]:
    """All calendars by name, with how many days they list and how many jobs keep them."""
    return [CalendarSummary(*row) for row in session.execute(_summaries().order_by(func.lower(Calendar.name)))]


def get_calendar_summary(session: Session, calendar_id: int) -> CalendarSummary:
    """One calendar as it is in the list. Raises NotFoundError."""
    row = session.execute(_summaries().where(Calendar.id == calendar_id)).one_or_none()
    if row is None:
        raise NotFoundError("there is no such calendar")
    return CalendarSummary(*row)


def may_change(viewer: Viewer, calendar: Calendar) -> bool:
    """Whether the viewer may edit and delete the calendar."""
    return viewer.is_admin or (viewer.may_write and calendar.user_id == viewer.user_id)


def require_calendars(session: Session, calendar_ids: Collection[int]) -> None:
    """Keep calendars from being deleted while a job takes them up. Raises InvalidCalendarError for unknown ids."""
    if not calendar_ids:
        return
    known = set(
        session.scalars(
            select(Calendar.id).where(Calendar.id.in_(calendar_ids)).with_for_update(read=True, key_share=True)
        )
    )
    unknown = sorted(set(calendar_ids) - known)
    if unknown:
        raise InvalidCalendarError(f"there is no calendar {', '.join(map(str, unknown))}")


def load_calendars(session: Session, calendar_ids: Collection[int]) -> dict[int, recurrence.Calendar]:
    """The calendars as schedules read them, by id."""
    if not calendar_ids:
        return {}
    days: dict[int, list[DayOff]] = {}
    rows = session.scalars(_listed().where(CalendarDay.calendar_id.in_(calendar_ids)))
    for row in rows:  # in one order: of two days off on a date, the first gives its name
        days.setdefault(row.calendar_id, []).append(DayOff(row.starts_on, row.ends_on, row.name))
    return {
        calendar.id: _as_recurrence(draft_of(calendar, days.get(calendar.id, ())))
        for calendar in session.scalars(select(Calendar).where(Calendar.id.in_(calendar_ids)))
    }


def load_calendars_of(session: Session, job: Job) -> tuple[recurrence.Calendar, ...]:
    """The calendars that the job keeps, in its order."""
    calendars = load_calendars(session, job.calendar_ids)
    return tuple(calendars[i] for i in job.calendar_ids if i in calendars)


def days_off_of(draft: CalendarDraft, first: date, last: date) -> list[DayOff]:
    """What the calendar will keep between two dates, its country's holidays included, by date."""
    days = [day for day in draft.days if day.starts_on <= last and day.ends_on >= first]
    if draft.country is not None:
        for year in range(first.year, last.year + 1):
            holidays = recurrence.country_days_off(draft.country, draft.subdivision, year)
            days += [DayOff(on, on, name) for on, name in holidays.items() if first <= on <= last]
    return sorted(days, key=lambda day: (day.starts_on, day.ends_on, day.name))


def draft_of(calendar: Calendar, days: Sequence[DayOff]) -> CalendarDraft:
    """What the calendar holds, to be shown or changed."""
    return CalendarDraft(
        calendar.name,
        tuple(days),
        calendar.time_zone,
        frozenset(calendar.weekend),
        calendar.country,
        calendar.subdivision,
    )


def _listed() -> Select[CalendarDay]:
    return select(CalendarDay).order_by(CalendarDay.starts_on, CalendarDay.ends_on, CalendarDay.id)


def _summaries() -> Select[Calendar, str, int, int]:
    days = select(func.count()).where(CalendarDay.calendar_id == Calendar.id).scalar_subquery()
    jobs = select(func.count()).select_from(Job).where(_keeps(Calendar.id)).scalar_subquery()
    return select(Calendar, User.name, days, jobs).outerjoin(User, User.id == Calendar.user_id)


def _as_recurrence(draft: CalendarDraft) -> recurrence.Calendar:
    return _interned(
        recurrence.Calendar(
            draft.name, tuple(draft.days), draft.time_zone, draft.weekend, draft.country, draft.subdivision
        )
    )


@lru_cache(maxsize=256)
def _interned(calendar: recurrence.Calendar) -> recurrence.Calendar:
    """The same object for the same calendar: look-ups are cached by it, and comparing hundreds of days costs."""
    return calendar


def _check(draft: CalendarDraft) -> None:
    name = draft.name.strip()
    if not name:
        raise InvalidCalendarError("give the calendar a name")
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise InvalidCalendarError(f"a calendar's name has at most {MAX_NAME_CHARACTERS} characters that can be shown")
    if not draft.days and draft.country is None:
        raise InvalidCalendarError("the calendar is empty: add a day, import a file, or choose a country")
    if len(draft.days) > MAX_DAYS:
        raise InvalidCalendarError(f"found {len(draft.days):,} days; a calendar holds at most {MAX_DAYS:,}")
    for day in draft.days:
        if day.ends_on < day.starts_on:
            raise InvalidCalendarError(f'"{day.name}" ends on {day.ends_on}, before it starts on {day.starts_on}')
        if not is_storable(day.name):
            raise InvalidCalendarError(f"the name of the day {day.starts_on} has a character that cannot be stored")
    if not draft.weekend <= WEEKDAYS:
        raise InvalidCalendarError(f"weekend: found {min(draft.weekend - WEEKDAYS)}; allowed 0 to 6, 0 = Sunday")
    if len(draft.weekend) == 7:
        raise InvalidCalendarError("a weekend of seven days leaves no working day")
    if draft.time_zone is not None:
        recurrence.checked_time_zone(draft.time_zone)
    if draft.country is not None:
        recurrence.checked_country(draft.country, draft.subdivision)
    elif draft.subdivision is not None:
        raise InvalidCalendarError("a subdivision needs its country")


def _fill(session: Session, calendar: Calendar, draft: CalendarDraft) -> None:
    calendar.name = draft.name.strip()
    calendar.time_zone = draft.time_zone
    calendar.weekend = sorted(draft.weekend)
    calendar.country, calendar.subdivision = draft.country, draft.subdivision
    try:
        with session.begin_nested():
            session.add(calendar)
            session.flush()
    except IntegrityError:
        raise ConflictError(f'there is already a calendar "{draft.name.strip()}"') from None


def _replace_days(session: Session, calendar: Calendar, days: Sequence[DayOff]) -> None:
    session.execute(delete(CalendarDay).where(CalendarDay.calendar_id == calendar.id))
    if days:
        session.execute(
            insert(CalendarDay),
            [
                {
                    "calendar_id": calendar.id,
                    "starts_on": day.starts_on,
                    "ends_on": day.ends_on,
                    "name": day.name.strip() or "Day off",
                }
                for day in days
            ],
        )


def _lock_calendar(session: Session, viewer: Viewer, calendar_id: int) -> Calendar:
    calendar = session.scalar(
        select(Calendar).where(Calendar.id == calendar_id).with_for_update().execution_options(populate_existing=True)
    )
    if calendar is None:
        raise NotFoundError("there is no such calendar")
    if not may_change(viewer, calendar):
        raise NotAllowedError("only its owner and admins may change this calendar")
    return calendar


def _count_jobs(session: Session, calendar_id: int) -> int:
    return session.execute(select(func.count()).select_from(Job).where(_keeps(calendar_id))).scalar_one()


def _keeps(calendar_id: object) -> ColumnElement[bool]:
    """The job keeps the calendar; in the words of the partial index."""
    wanted = cast(array([calendar_id]), ARRAY(BigInteger))
    return Job.calendar_ids.contains(wanted) & text("import_sessions.calendar_ids <> '{}'")


def _audited(draft: CalendarDraft) -> dict[str, object]:
    return {
        "name": draft.name.strip(),
        "time_zone": draft.time_zone,
        "weekend": sorted(draft.weekend),
        "country": draft.country,
        "subdivision": draft.subdivision,
        "days": len(draft.days),
    }
