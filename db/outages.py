"""Outages: when no scheduler_service fired for longer than it may take. Missed occurrences refer to them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import Outage, SchedulerInstance

NOTICED_AFTER = timedelta(seconds=75)  # a healthy scheduler makes a fire pass every 30 s at least


def note_outage(session: Session, now: datetime) -> None:
    """Record that nobody fired since the last pass of any scheduler, if that is long ago.

    Called before an instance registers (which forgets those long gone) and before it fires.
    """
    last_fire_at = session.execute(select(func.max(SchedulerInstance.last_fire_at))).scalar_one()
    if last_fire_at is None or now - last_fire_at <= NOTICED_AFTER:
        return
    noted = insert(Outage).values(began_at=last_fire_at, ended_at=now)
    session.execute(
        noted.on_conflict_do_update(
            index_elements=[Outage.began_at], set_={"ended_at": func.greatest(Outage.ended_at, noted.excluded.ended_at)}
        )
    )


def list_outages(session: Session, since: datetime, until: datetime) -> Sequence[tuple[datetime, datetime]]:
    """The outages that overlap the span, oldest first, as (began, ended)."""
    rows = session.execute(
        select(Outage.began_at, Outage.ended_at)
        .where(Outage.ended_at >= since, Outage.began_at <= until)
        .order_by(Outage.began_at)
    )
    return [(began_at, ended_at) for began_at, ended_at in rows]
