"""Aim schedules anew after an update of the time zone rules: what waits for an instant of the old rules moves."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import record_audit
from db.models import Job
from db.planning import rule_of
from recurrence import InvalidScheduleError, next_occurrence, zone_rules_version

BATCH_SIZE = 500


def aim_anew(session: Session, now: datetime, *, after_id: str = "", limit: int = BATCH_SIZE) -> tuple[int, str | None]:
    """Recompute `next_run` of up to `limit` jobs after that id; returns how many moved, and the last id if more follow.

    It is the first occurrence after the last one that fired or the last edit: one that the new rules have already
    had is due at once. What is due already stays due. Jobs that are locked are aimed by whoever edits or fires them.
    """
    jobs = session.scalars(
        select(Job)
        .where(Job.is_scheduled, Job.paused_at.is_(None), Job.next_run > now, Job.id > after_id)
        .order_by(Job.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    changed = 0
    for job in jobs:
        try:
            first = next_occurrence(rule_of(job), max(job.updated_at, job.last_scheduled_run or job.updated_at))
        except InvalidScheduleError:
            continue  # firing it pauses it, and says why
        aim = min((at for at in (first, *job.moved_runs) if at is not None), default=None)
        if aim != job.next_run:
            before, job.next_run = job.next_run, aim
            changed += 1
            record_audit(
                session,
                None,
                f"next run moved: time zone rules {zone_rules_version()}",
                f"job {job.id}",
                before={"next_run": before.isoformat() if before else None},
                after={"next_run": aim.isoformat() if aim else None},
            )
    session.flush()
    return changed, jobs[-1].id if len(jobs) == limit else None
