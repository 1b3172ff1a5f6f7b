"""What `bench.growth` compares with: the same pass as bare SQL, and APScheduler's SQLAlchemy job store."""

import multiprocessing
import pickle
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.job import Job as StoredJob
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import URL, Engine, create_engine, insert, make_url, text

from db.engine import create_database_engine, transaction
from db.job_lists import JobCursor, list_jobs
from db.models import Role
from db.viewers import Viewer

FAR = timedelta(days=1)
INSERT_ROWS = 5000


class BareSql:
    """Two tables and three statements: lock what is due, insert its runs, move it on by a day."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs = 0
        with engine.begin() as connection:
            for statement in (
                "CREATE TABLE bare_jobs (id bigint PRIMARY KEY, next_run timestamptz NOT NULL)",
                "CREATE INDEX ON bare_jobs (next_run)",
                "CREATE TABLE bare_runs (id bigserial PRIMARY KEY, job_id bigint, at timestamptz)",
                "CREATE UNIQUE INDEX ON bare_runs (job_id, at)",
            ):
                connection.execute(text(statement))

    def grow_to(self, jobs: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO bare_jobs SELECT n, now() + interval '1 day' FROM generate_series(:first, :last) AS n"
                ),
                {"first": self._jobs + 1, "last": jobs},
            )
            connection.execute(text("ANALYZE bare_jobs"))
        self._jobs = jobs

    def make_due(self, numbers: Sequence[int]) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                text("UPDATE bare_jobs SET next_run = clock_timestamp() - interval '1 s' WHERE id = ANY (:ids)"),
                {"ids": list(numbers)},
            )

    def fire(self) -> int:
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            due = connection.execute(
                text("""
                    SELECT id, next_run FROM bare_jobs WHERE next_run <= :now
                    ORDER BY next_run LIMIT 500 FOR UPDATE SKIP LOCKED
                """),
                {"now": now},
            ).all()
            values = {"ids": [row.id for row in due], "at": [row.next_run for row in due]}
            connection.execute(
                text("""
                    INSERT INTO bare_runs (job_id, at)
                    SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:at AS timestamptz[]))
                    ON CONFLICT DO NOTHING
                """),
                values,
            )
            connection.execute(
                text("UPDATE bare_jobs SET next_run = :next WHERE id = ANY (:ids)"),
                {"ids": values["ids"], "next": now + FAR},
            )
            connection.execute(text("SELECT min(next_run) FROM bare_jobs"))
        return len(due)


class ApschedulerStore:
    """APScheduler's SQLAlchemy job store; a pass does with it what its scheduler does for jobs that are due."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url)
        self._store = _open_store(self._engine)
        self._jobs = 0

    def grow_to(self, jobs: int) -> None:
        """More jobs, inserted in bulk: one by one, as the store adds them, each would take a transaction."""
        for first in range(self._jobs, jobs, INSERT_ROWS):
            rows = [self._row(number) for number in range(first, min(jobs, first + INSERT_ROWS))]
            with self._engine.begin() as connection:
                connection.execute(insert(self._store.jobs_t), rows)
        self._jobs = jobs
        with self._engine.begin() as connection:
            connection.execute(text("ANALYZE apscheduler_jobs"))

    def make_due(self, numbers: Sequence[int]) -> None:
        due = datetime.now(UTC) - timedelta(seconds=1)
        for number in numbers:
            self._store.update_job(self._job(number, due))

    def fire(self) -> int:
        now = datetime.now(UTC)
        due = self._store.get_due_jobs(now)
        for job in due:
            job._modify(next_run_time=now + FAR)
            self._store.update_job(job)
        self._store.get_next_run_time()
        return len(due)

    def close(self) -> None:
        self._engine.dispose()

    def _row(self, number: int) -> dict[str, Any]:
        job = self._job(number, datetime.now(UTC) + FAR)
        state = pickle.dumps(job.__getstate__(), pickle.HIGHEST_PROTOCOL)
        return {"id": job.id, "next_run_time": job.next_run_time.timestamp(), "job_state": state}

    def _job(self, number: int, at: datetime) -> Any:
        return StoredJob(
            self._store._scheduler,
            id=f"job-{number}",
            name=f"Water bills {number}",
            func=print,
            args=(),
            kwargs={},
            trigger=CronTrigger(hour=2, timezone=UTC),
            executor="default",
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
            next_run_time=at,
        )


def _open_store(engine: Engine) -> Any:
    store: Any = SQLAlchemyJobStore(engine=engine)
    store.start(BackgroundScheduler(timezone=UTC), "default")
    return store


def memory_to_list(url: URL, how: Callable[[URL], int]) -> tuple[int, float]:
    """How many jobs a process of its own lists, and by how many MB it grew meanwhile."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_list_and_measure, url.render_as_string(hide_password=False), how).result()


def list_with_apscheduler(url: URL) -> int:
    """All jobs of the store, which has no other way to list them."""
    return len(_open_store(create_engine(url)).get_all_jobs())


def list_with_punctual(url: URL) -> int:
    """All jobs, a page at a time, as a script with the API would."""
    engine = create_database_engine(url, application="bench", pool_size=1)
    admin = Viewer("u0", "u0", "User 0", Role.ADMIN)
    cursor: JobCursor | None = None
    seen = 0
    while True:
        with transaction(engine) as session:
            jobs, cursor = list_jobs(session, admin, cursor=cursor, limit=200)
        seen += len(jobs)
        if cursor is None:
            return seen


def _list_and_measure(url: str, how: Callable[[URL], int]) -> tuple[int, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = how(make_url(url))
    return count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
