"""`/statistics` and `/jobs/{id}/statistics`: figures of each day, which outlive the runs that they sum up."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.authentication import CurrentViewer
from api.paging import TextId
from api.resources import Here
from api.shapes import StrictShape
from db.daily_figures import DayFigures, list_days, list_job_days
from db.models import History
from db.retention import get_kept_since

MAX_DAYS = 3660

router = APIRouter(tags=["statistics"])


class StatisticsQuery(StrictShape):
    """`?days=`: how many, today's (UTC) included."""

    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = 30


class DayShape(BaseModel):
    """A day's runs by outcome, `missed` and `skipped` being occurrences; a run belongs to the day of its start."""

    day: date
    completed: int
    partial: int
    failed: int
    stopped: int
    timed_out: int
    lost: int
    missed: int
    skipped: int
    accounts_succeeded: int
    accounts_failed: int
    bills_new: int
    run_seconds: float
    mean_lateness_seconds: float | None
    max_lateness_seconds: float | None


class StatisticsShape(BaseModel):
    """Every day from `from` to `to`, both included, the oldest first. A run is counted seconds after its end."""

    from_: date = Field(serialization_alias="from")
    to: date
    runs_kept_since: datetime | None
    days: list[DayShape]


@router.get("/statistics")
def get_statistics(query: Annotated[StatisticsQuery, Query()], viewer: CurrentViewer, here: Here) -> StatisticsShape:
    """All of your jobs' days, for admins everyone's; what deleted jobs did is among them."""
    with here.transaction() as session:
        return _shape(session, list_days(session, viewer, until=_today(), days=query.days))


@router.get("/jobs/{job_id}/statistics")
def get_job_statistics(
    job_id: TextId, query: Annotated[StatisticsQuery, Query()], viewer: CurrentViewer, here: Here
) -> StatisticsShape:
    """One job's days."""
    with here.transaction() as session:
        return _shape(session, list_job_days(session, viewer, job_id, until=_today(), days=query.days))


def _shape(session: Session, days: Sequence[DayFigures]) -> StatisticsShape:
    return StatisticsShape(
        from_=days[0].day,
        to=days[-1].day,
        runs_kept_since=get_kept_since(session, History.RUNS),
        days=[_day_shape(figures) for figures in days],
    )


def _day_shape(figures: DayFigures) -> DayShape:
    return DayShape(
        day=figures.day,
        completed=figures.completed,
        partial=figures.partial,
        failed=figures.failed,
        stopped=figures.stopped,
        timed_out=figures.timed_out,
        lost=figures.lost,
        missed=figures.missed,
        skipped=figures.skipped,
        accounts_succeeded=figures.accounts_succeeded,
        accounts_failed=figures.accounts_failed,
        bills_new=figures.bills_new,
        run_seconds=figures.run_seconds,
        mean_lateness_seconds=figures.mean_lateness_seconds,
        max_lateness_seconds=figures.lateness_max_seconds if figures.started else None,
    )


def _today() -> date:
    return datetime.now(UTC).date()
