"""Queued runs of jobs of their own, and workers that take them."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.claiming import Claim, claim_runs
from db.engine import transaction
from db.models import Job, Run, RunTrigger
from tests.factories import NOW, make_job, make_run, make_viewer

LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


def claim(session: Session, *, slots: int = 10, seconds: float = 0, worker: str = "w") -> Sequence[Claim]:
    claims = claim_runs(session, NOW + seconds * SECOND, worker=worker, slots=slots, lease=LEASE).claims
    session.expire_all()
    return claims


def add_run(engine: Engine, trigger: RunTrigger = RunTrigger.MANUAL, seconds: float = 0, **job_columns: object) -> int:
    """A queued run of a job of its own."""
    with transaction(engine) as session:
        viewer = make_viewer(session, f"user{uuid4()}")
        job = make_job(session, viewer, **job_columns)  # type: ignore[arg-type]
        return make_run(session, job, trigger=trigger, at=NOW + seconds * SECOND).id


def get_run(engine: Engine, run_id: int) -> tuple[Run, Job]:
    with transaction(engine) as session:
        run = session.get_one(Run, run_id)
        return run, session.get_one(Job, run.session_id)


def statuses(engine: Engine, run_id: int) -> tuple[str, str]:
    run, job = get_run(engine, run_id)
    return run.status, job.status


def take(engine: Engine, run_id: int, seconds: float = 0) -> Claim:
    with transaction(engine) as session:
        (claimed,) = [c for c in claim(session, seconds=seconds) if c.run_id == run_id]
        return claimed
