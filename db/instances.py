"""scheduler_service processes: who they are and when each last made progress."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from db.models import Job, SchedulerInstance
from recurrence import zone_rules_version

SILENT_AFTER = timedelta(seconds=75)
OVERDUE_AFTER = timedelta(seconds=60)
KEPT_FOR = timedelta(days=7)


@dataclass(frozen=True)
class SchedulerHealth:
    """Whether schedules are being fired, judged by progress and not by a process that exists; and whether any
    process has slots: none has with PUNCTUAL_SLOTS=0, or while its Dask cluster is away."""

    is_firing: bool
    instances: int
    last_fire_at: datetime | None
    overdue_jobs: int
    can_execute: bool


def register_instance(
    session: Session,
    *,
    host: str,
    pid: int,
    version: str,
    slots: int,
    now: datetime,
    key_marks: Sequence[str] | None = None,
) -> str:
    """Add this process, which knows those secret keys; returns its id. Rows of processes long gone are dropped."""
    session.execute(delete(SchedulerInstance).where(SchedulerInstance.last_seen_at < now - KEPT_FOR))
    instance = SchedulerInstance(
        host=host,
        pid=pid,
        version=version,
        slots=slots,
        zone_rules=zone_rules_version(),
        key_marks=list(key_marks) if key_marks is not None else None,
        started_at=now,
        last_seen_at=now,
    )
    session.add(instance)
    session.flush()
    return instance.id


def get_last_zone_rules(session: Session) -> str | None:
    """The time zone rules of the scheduler that registered last; None when there is none, or nothing is known."""
    newest = select(SchedulerInstance.zone_rules).order_by(SchedulerInstance.started_at.desc()).limit(1)
    return session.execute(newest).scalar_one_or_none()


def record_seen(session: Session, instance_id: str, now: datetime) -> None:
    """This process is alive."""
    _update(session, instance_id, last_seen_at=now)


def record_fire_pass(session: Session, instance_id: str, now: datetime) -> None:
    """This process finished a fire pass."""
    _update(session, instance_id, last_seen_at=now, last_fire_at=now)


def record_slots(session: Session, instance_id: str, slots: int, *, cluster: str | None) -> None:
    """So many runs can be executed now on the cluster that this process uses; None while it is away."""
    _update(session, instance_id, slots=slots, cluster=cluster)


def is_registered(session: Session, instance_id: str) -> bool:
    """Whether this database knows that process."""
    return session.get(SchedulerInstance, instance_id) is not None


def record_stopped(session: Session, instance_id: str, now: datetime) -> None:
    """This process is going."""
    _update(session, instance_id, last_seen_at=now, stopped_at=now)


def list_instances(session: Session, now: datetime) -> Sequence[SchedulerInstance]:
    """The processes that are not known to be gone, newest first."""
    return session.scalars(
        select(SchedulerInstance)
        .where(SchedulerInstance.stopped_at.is_(None), SchedulerInstance.last_seen_at > now - SILENT_AFTER)
        .order_by(SchedulerInstance.started_at.desc())
    ).all()


def count_slots(session: Session, now: datetime) -> int:
    """How many runs all processes together can execute at once: a cluster's slots count once, whoever uses them."""
    own = 0
    of_clusters: dict[str, int] = {}
    for instance in list_instances(session, now):
        if instance.cluster is None:
            own += instance.slots
        else:  # each of them looks once a second, so for a moment they may disagree
            of_clusters[instance.cluster] = max(of_clusters.get(instance.cluster, 0), instance.slots)
    return own + sum(of_clusters.values())


def get_scheduler_health(session: Session, now: datetime) -> SchedulerHealth:
    """Is anybody firing, and is anything overdue?"""
    instances = list_instances(session, now)
    newest = session.execute(select(func.max(SchedulerInstance.last_fire_at))).scalar_one()
    overdue = session.execute(
        select(func.count())
        .select_from(Job)
        .where(Job.is_scheduled, Job.paused_at.is_(None), Job.next_run < now - OVERDUE_AFTER)
    ).scalar_one()
    fired = [i.last_fire_at for i in instances if i.last_fire_at is not None]
    is_firing = any(at > now - SILENT_AFTER for at in fired) and overdue == 0
    return SchedulerHealth(is_firing, len(instances), newest, overdue, any(i.slots > 0 for i in instances))


def _update(session: Session, instance_id: str, **values: object) -> None:
    session.execute(update(SchedulerInstance).where(SchedulerInstance.id == instance_id).values(**values))
