"""Runs on a cluster of workers: how many are there, and how a claim passes to the worker that executes the run.

A scheduler_service claims a run for the cluster and renews that lease while the run waits for a worker. The worker
takes the claim over under a lease token of its own: from then on the first token is worth nothing, so neither the
scheduler_service nor a second worker that was told of the same run can touch it.
"""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.attempts import pass_attempt
from db.claiming import Claim
from db.models import Job, Run, RunStatus
from db.worker_names import cluster_ending


def count_running_on(session: Session, cluster: str) -> int:
    """How many runs the cluster holds, whoever claimed them.

    Until this transaction ends nobody else counts, so that no two fill the same slot.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"punctual cluster {cluster}", 0))))
    running = select(func.count()).where(
        Run.status == RunStatus.RUNNING, Run.worker.endswith(cluster_ending(cluster), autoescape=True)
    )
    return session.execute(running).scalar_one()


def take_over_run(
    session: Session, run_id: int, lease_token: UUID, *, worker: str, now: datetime, lease: timedelta
) -> Claim | None:
    """Take the claim from whoever holds it under that token; None when nobody does any more."""
    token = uuid4()
    run = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.lease_token == lease_token, Run.status == RunStatus.RUNNING)
        .values(lease_token=token, worker=worker, lease_until=now + lease)
        .returning(Run.session_id, Run.attempt, Run.scheduled_for)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if run is None:
        return None
    pass_attempt(session, lease_token, token, worker=worker)
    timeout = session.execute(select(Job.timeout_seconds).where(Job.id == run.session_id)).scalar_one()
    return Claim(run_id, run.session_id, token, run.attempt, timeout, run.scheduled_for)
