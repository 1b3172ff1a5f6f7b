"""`/health` for anyone who watches, `/metrics` for admins: is Punctual doing its work, and how much of it."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from api.authentication import Admin
from api.errors import DATABASE_AWAY, DATABASE_ERRORS
from api.resources import Here
from api.shapes import HealthShape, SchedulerShape
from db.instances import SchedulerHealth, get_scheduler_health
from db.job_lists import count_all_jobs_by_status
from db.models import LIVE_RUN_STATUSES, JobStatus
from db.runs import count_live_runs, measure_lateness
from settings import VERSION

LATE_AFTER = timedelta(minutes=1)
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["health"])


@router.get("/health")
def get_health(response: Response, here: Here) -> HealthShape:
    """200 while schedules are being fired, else 503 and why. Judged by progress, not by a process that exists."""
    response.status_code = 503
    try:
        with here.transaction() as session:
            health = get_scheduler_health(session, datetime.now(UTC))
    except DATABASE_ERRORS:
        return HealthShape(
            status="failing", scheduler=None, database="unreachable", version=VERSION, error=DATABASE_AWAY
        )
    scheduler = SchedulerShape(
        firing=health.is_firing,
        can_execute=health.can_execute,
        instances=health.instances,
        last_fire_at=health.last_fire_at,
        overdue_jobs=health.overdue_jobs,
    )
    if not health.is_firing:
        return HealthShape(
            status="failing", scheduler=scheduler, database="ok", version=VERSION, error=_explain(health)
        )
    response.status_code = 200
    return HealthShape(status="ok", scheduler=scheduler, database="ok", version=VERSION)


# Monitors often ask with HEAD.
router.add_api_route("/health", get_health, methods=["HEAD"], include_in_schema=False)


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(_viewer: Admin, here: Here) -> PlainTextResponse:
    """Prometheus text: jobs by status, live runs, the scheduler's progress, how late runs began."""
    now = datetime.now(UTC)
    with here.transaction() as session:
        jobs = count_all_jobs_by_status(session)
        runs = count_live_runs(session)
        health = get_scheduler_health(session, now)
        lateness = measure_lateness(session, late_after=LATE_AFTER)
    lines = [
        *_metric("punctual_jobs", "Jobs by status", {f'{{status="{s}"}}': jobs.get(s, 0) for s in JobStatus}),
        *_metric("punctual_live_runs", "Live runs", {f'{{status="{s}"}}': runs.get(s, 0) for s in LIVE_RUN_STATUSES}),
        *_metric("punctual_scheduler_instances", "scheduler_service processes alive", {"": health.instances}),
        *_metric("punctual_scheduler_firing", "1 while schedules are being fired", {"": int(health.is_firing)}),
        *_metric("punctual_overdue_jobs", "Scheduled jobs that should have fired", {"": health.overdue_jobs}),
        *_metric("punctual_recent_runs_started", "Of the newest 1000 runs, those that started", {"": lateness.started}),
        *_metric("punctual_recent_runs_late", "Of those, started over a minute late", {"": lateness.late}),
    ]
    if lateness.last_seconds is not None:
        words = "How late the newest run that started was"
        lines += _metric("punctual_last_lateness_seconds", words, {"": lateness.last_seconds})
    if health.last_fire_at is not None:
        age = max(0.0, (now - health.last_fire_at).total_seconds())
        lines += _metric("punctual_last_fire_age_seconds", "Time since the last fire pass", {"": age})
    return PlainTextResponse("\n".join(lines) + "\n", media_type=PROMETHEUS_TEXT)


def _metric(name: str, description: str, samples: dict[str, int | float]) -> list[str]:
    values = [
        f"{name}{labels} {value:g}" if isinstance(value, float) else f"{name}{labels} {value}"
        for labels, value in samples.items()
    ]
    return [f"# HELP {name} {description}", f"# TYPE {name} gauge", *values]


def _explain(health: SchedulerHealth) -> str:
    if health.instances == 0:
        return "no scheduler_service is running"
    if health.overdue_jobs:
        return f"jobs that should have fired and did not: {health.overdue_jobs}"
    return "no scheduler_service has finished a fire pass lately"
