"""One change to many jobs at once: all of them or none. Every job is changed by its own verb of `db.jobs`.

Jobs are locked in the order of their ids, so that two such changes wait for each other and never deadlock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from db.errors import NotFoundError, PunctualError
from db.jobs import get_job, lock_job, pause_job, resume_job, update_job, update_schedule
from db.models import Job
from db.retries import RetryPolicy, retry_policy_of
from db.schedule_impact import ScheduleImpact, preview_change, preview_resume
from db.schedules import Schedule, policy_of, schedule_of
from db.viewers import Viewer
from recurrence import InvalidScheduleError
from recurrence.errors import quoted

MAX_JOBS = 200

Answer = TypeVar("Answer")


class NoJobsError(PunctualError):
    """No job is chosen; choose at least one."""


class TooManyJobsError(PunctualError):
    """More jobs are chosen than can be changed at once."""


@dataclass(frozen=True)
class JobImpact:
    """What a change does to one of the jobs."""

    job_id: str
    name: str
    change: ScheduleImpact


def preview_reschedule(
    session: Session, viewer: Viewer, job_ids: Sequence[str], schedule: Schedule, now: datetime
) -> list[JobImpact]:
    """What `reschedule_jobs` would do to each of the jobs, in the order of `job_ids`; their policies stay.

    Raises NoJobsError, TooManyJobsError, NotFoundError, recurrence.InvalidScheduleError.
    """
    jobs = _read(session, viewer, job_ids)
    return _impacts(jobs, lambda job: preview_change(session, job, schedule, policy_of(job), now))


def preview_pauses(session: Session, viewer: Viewer, job_ids: Sequence[str], now: datetime) -> list[JobImpact]:
    """What `pause_jobs` would do, for the jobs that it would pause. Raises as `preview_reschedule`."""
    jobs = filter(_is_active, _read(session, viewer, job_ids))
    return _impacts(jobs, lambda job: preview_change(session, job, None, policy_of(job), now))


def preview_resumes(session: Session, viewer: Viewer, job_ids: Sequence[str], now: datetime) -> list[JobImpact]:
    """What `resume_jobs` would do, for the jobs that it would resume. Raises as `preview_reschedule`."""
    jobs = filter(_is_paused, _read(session, viewer, job_ids))
    return _impacts(jobs, _naming_job(lambda job: preview_resume(session, job, now)))


def reschedule_jobs(
    session: Session, viewer: Viewer, job_ids: Sequence[str], schedule: Schedule, *, now: datetime
) -> int:
    """Give all the jobs this schedule; how many did not have it yet. Paused jobs stay paused.

    Raises NoJobsError, TooManyJobsError, NotFoundError, NotAllowedError, recurrence.InvalidScheduleError.
    """
    return _change(
        session,
        viewer,
        job_ids,
        lambda job: schedule_of(job) != schedule,
        lambda job: update_schedule(session, viewer, job.id, schedule, now=now),
    )


def pause_jobs(session: Session, viewer: Viewer, job_ids: Sequence[str], *, now: datetime) -> int:
    """Pause those of the jobs that have a schedule and are not paused yet; how many. Raises as `reschedule_jobs`."""
    return _change(session, viewer, job_ids, _is_active, lambda job: pause_job(session, viewer, job.id, now=now))


def resume_jobs(session: Session, viewer: Viewer, job_ids: Sequence[str], *, now: datetime) -> int:
    """Resume those of the jobs that are paused; how many. Raises as `reschedule_jobs`."""
    resume = _naming_job(lambda job: resume_job(session, viewer, job.id, now=now))
    return _change(session, viewer, job_ids, _is_paused, resume)


def set_retries(
    session: Session, viewer: Viewer, job_ids: Sequence[str], retries: RetryPolicy, *, now: datetime
) -> int:
    """Give all the jobs this retry policy; how many had another. Raises as `reschedule_jobs`."""
    return _change(
        session,
        viewer,
        job_ids,
        lambda job: retry_policy_of(job) != retries,
        lambda job: update_job(session, viewer, job.id, now=now, retries=retries),
    )


def _change(
    session: Session,
    viewer: Viewer,
    job_ids: Sequence[str],
    is_concerned: Callable[[Job], bool],
    change: Callable[[Job], object],
) -> int:
    """Lock all the jobs, then change those that are concerned; the savepoint keeps a caller from storing a half."""
    with session.begin_nested():
        jobs = [_named(job_id, lambda i: lock_job(session, viewer, i)) for job_id in sorted(_checked(job_ids))]
        concerned = list(filter(is_concerned, jobs))
        for job in concerned:
            change(job)
    return len(concerned)


def _read(session: Session, viewer: Viewer, job_ids: Sequence[str]) -> list[Job]:
    return [_named(job_id, lambda i: get_job(session, viewer, i)) for job_id in _checked(job_ids)]


def _impacts(jobs: Iterable[Job], preview: Callable[[Job], ScheduleImpact]) -> list[JobImpact]:
    return [JobImpact(job.id, job.name, preview(job)) for job in jobs]


def _checked(job_ids: Sequence[str]) -> list[str]:
    """The ids, each once."""
    found = list(dict.fromkeys(job_ids))
    if not found:
        raise NoJobsError
    if len(found) > MAX_JOBS:
        raise TooManyJobsError(f"{len(found):,} jobs are chosen; at most {MAX_JOBS} can be changed at once")
    return found


def _named(job_id: str, find: Callable[[str], Job]) -> Job:
    try:
        return find(job_id)
    except NotFoundError:
        raise NotFoundError(f"there is no job {quoted(job_id)}, or it belongs to someone else") from None


def _naming_job(work: Callable[[Job], Answer]) -> Callable[[Job], Answer]:
    """The same work, whose InvalidScheduleError says which job's schedule is meant."""

    def named(job: Job) -> Answer:
        try:
            return work(job)
        except InvalidScheduleError as error:
            raise InvalidScheduleError(f"job {quoted(job.name)}: {error}") from error

    return named


def _is_active(job: Job) -> bool:
    return job.is_scheduled and job.paused_at is None


def _is_paused(job: Job) -> bool:
    return job.paused_at is not None
