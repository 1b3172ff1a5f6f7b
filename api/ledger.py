"""`/jobs/{id}/ledger`: what the job's schedule expected in a period, and what became of it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.authentication import CurrentViewer
from api.dates import read_instant
from api.paging import TextId
from api.resources import Here
from api.shapes import StrictShape
from db.ledger import Ledger, LedgerGroup, draw_up_ledger
from db.ledger_words import describe_ledger
from recurrence import checked_time_zone

DEFAULT_SPAN = timedelta(days=30)

router = APIRouter(prefix="/jobs", tags=["jobs"])


class LedgerQuery(StrictShape):
    """`?from=&to=&time_zone=`: instants, or dates that begin at midnight in the zone; else the last 30 days."""

    from_: str | None = Field(default=None, alias="from")
    to: str | None = None
    time_zone: str | None = None


class SpanShape(BaseModel):
    """A time during which no scheduler was running."""

    began: datetime
    ended: datetime


class LedgerGroupShape(BaseModel):
    """Occurrences that fared alike, for the same cause."""

    account: str
    cause: str | None
    count: int
    first: datetime
    last: datetime
    outages: list[SpanShape]


class UnexpectedRunShape(BaseModel):
    """A scheduled run at an instant that no schedule in force had."""

    run_id: int
    scheduled_for: datetime
    status: str


class LedgerShape(BaseModel):
    """What was expected from `from` (included) to `to` (excluded) or now, and what became of it.

    `lost` and `unexpected` hold the first twenty, their counts are whole. `is_readable` is false when a schedule
    of the period cannot be read; before `known_since` nothing is expected, nor before `kept_since`, of which the
    runs were removed by the retention settings. Of `retried_count` occurrences failed accounts were tried again.
    """

    from_: datetime = Field(serialization_alias="from")
    to: datetime
    expected: int
    accounted: int
    balances: bool
    summary: str
    groups: list[LedgerGroupShape]
    lost: list[datetime]
    lost_count: int
    unexpected: list[UnexpectedRunShape]
    unexpected_count: int
    is_readable: bool
    known_since: datetime | None
    kept_since: datetime | None
    retried_count: int


@router.get("/{job_id}/ledger")
def get_ledger(
    job_id: TextId, query: Annotated[LedgerQuery, Query()], viewer: CurrentViewer, here: Here
) -> LedgerShape:
    """Compare the schedules that were in force with the runs that there are."""
    now = datetime.now(UTC)
    own_zone = viewer.time_zone or "UTC"
    zone = ZoneInfo(checked_time_zone(own_zone if query.time_zone is None else query.time_zone))
    ends_at = now if query.to is None else read_instant("to", query.to, zone)
    starts_at = ends_at - DEFAULT_SPAN if query.from_ is None else read_instant("from", query.from_, zone)
    with here.transaction() as session:
        ledger = draw_up_ledger(session, viewer, job_id, starts_at=starts_at, ends_at=ends_at, now=now)
    return _ledger_shape(ledger, zone)


def _ledger_shape(ledger: Ledger, zone: ZoneInfo) -> LedgerShape:
    return LedgerShape(
        from_=ledger.starts_at,
        to=ledger.ends_at,
        expected=ledger.expected,
        accounted=ledger.accounted,
        balances=ledger.balances,
        summary=describe_ledger(ledger, zone),
        groups=[_group_shape(group) for group in ledger.groups],
        lost=list(ledger.lost),
        lost_count=ledger.lost_count,
        unexpected=[
            UnexpectedRunShape(run_id=run.run_id, scheduled_for=run.scheduled_for, status=run.status)
            for run in ledger.unexpected
        ],
        unexpected_count=ledger.unexpected_count,
        is_readable=ledger.is_readable,
        known_since=ledger.known_since,
        kept_since=ledger.kept_since,
        retried_count=ledger.retried_count,
    )


def _group_shape(group: LedgerGroup) -> LedgerGroupShape:
    return LedgerGroupShape(
        account=group.account,
        cause=group.cause,
        count=group.count,
        first=group.first,
        last=group.last,
        outages=[SpanShape(began=began, ended=ended) for began, ended in group.outages],
    )
