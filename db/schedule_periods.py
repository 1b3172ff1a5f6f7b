"""Periods: which schedule of a job was in force when. The ledger expects occurrences by them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from db.models import Job, SchedulePeriod


def begin_period(session: Session, job: Job, now: datetime) -> None:
    """The job's schedule is in force from now on; occurrences after this instant are expected."""
    assert job.schedule_type is not None
    session.add(
        SchedulePeriod(
            session_id=job.id,
            starts_at=now,
            schedule_type=job.schedule_type,
            schedule_config=dict(job.schedule_config or {}),
            time_zone=job.time_zone,
        )
    )
    session.flush()


def end_period(session: Session, job_id: str, now: datetime) -> None:
    """Nothing is expected after this instant. Clocks differ between machines: no period ends before it starts."""
    session.execute(
        update(SchedulePeriod)
        .where(SchedulePeriod.session_id == job_id, SchedulePeriod.ends_at.is_(None))
        .values(ends_at=func.greatest(SchedulePeriod.starts_at, now))
        .execution_options(synchronize_session=False)
    )


def list_periods(session: Session, job_id: str, since: datetime, until: datetime) -> Sequence[SchedulePeriod]:
    """The periods that overlap the span, oldest first."""
    return session.scalars(
        select(SchedulePeriod)
        .where(
            SchedulePeriod.session_id == job_id,
            SchedulePeriod.starts_at <= until,
            or_(SchedulePeriod.ends_at.is_(None), SchedulePeriod.ends_at >= since),
        )
        .order_by(SchedulePeriod.starts_at, SchedulePeriod.id)
        .execution_options(populate_existing=True)
    ).all()
