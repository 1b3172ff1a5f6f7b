"""Dates and instants in requests: ISO 8601, and never a guess at which time zone was meant."""

from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator

from db.ledger import InvalidPeriodError
from recurrence.errors import quoted
from recurrence.zones import resolve

FIRST_YEAR, LAST_YEAR = 1970, 2999
ALLOWED_DATE = "allowed: a date such as 2025-12-24"
ALLOWED = (
    "allowed: a date such as 2025-03-01, or an instant such as 2025-03-01T09:00:00Z or 2025-03-01T09:00:00+01:00 "
    "(in an address, + is written %2B)"
)


def _read_date(value: Any) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(ALLOWED_DATE) from None


IsoDate = Annotated[date, BeforeValidator(_read_date)]


def read_instant(field: str, text: str, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, of an ISO 8601 text with an offset; of a plain date, its midnight in the zone.

    Raises InvalidPeriodError for anything else, a time without an offset included.
    """
    try:
        moment = _parse(text)
    except ValueError:
        raise InvalidPeriodError(f"{field}: found {quoted(text)}; {ALLOWED}") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise InvalidPeriodError(f"{field}: found {quoted(text)}; allowed: years {FIRST_YEAR} to {LAST_YEAR}")
    if not isinstance(moment, datetime):
        return resolve(zone, datetime.combine(moment, time())).instant
    if moment.tzinfo is None:
        raise InvalidPeriodError(f"{field}: {quoted(text)} does not say its offset from UTC; {ALLOWED}")
    return moment.astimezone(UTC)


def _parse(text: str) -> date | datetime:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)
