"""Where a fault test plays: a database with a witness, a portal in a process of its own, and real schedulers."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, text

from db.engine import transaction
from db.models import Account, Job, JobStatus, Result, Run, RunStatus, RunTrigger, SchedulePeriod, new_id
from db.runs import request_run
from db.viewers import Viewer
from db.wake import Wake, send_wake
from tests.chaos.checker import Findings, Occurrence, check_everything
from tests.chaos.portal import PortalProcess
from tests.chaos.witness import call_witness
from tests.factories import BOX, PASSWORD, make_portal, make_run, make_viewer
from tests.scheduler_process import SchedulerProcess, launch_scheduler, start_scheduler
from tests.waiting import wait_until

LEASE_SECONDS = 3
END_SECONDS = 90
ENDS_BY_SECONDS = 10
MAX_ATTEMPTS = 20  # killing may meet the same run again and again
PLACES = 64  # the portal is not what limits these tests


@dataclass
class Stage:
    """The installation under test, and what its schedules are expected to bring."""

    engine: Engine
    portal: PortalProcess
    home: Path
    expected: list[Occurrence] = field(default_factory=list)
    schedulers: list[SchedulerProcess] = field(default_factory=list)
    _viewer: Viewer | None = None
    _portal_id: int = 0

    def prepare(self) -> None:
        """Call the witness and make the owner and the portal's row."""
        call_witness(self.engine)
        with transaction(self.engine) as session:
            self._viewer = make_viewer(session)
            portal = make_portal(
                session, self.portal.host, max_concurrent_accounts=PLACES, min_seconds_between_requests=0.0
            )
            self._portal_id = portal.id

    @property
    def viewer(self) -> Viewer:
        assert self._viewer is not None
        return self._viewer

    def add_due_jobs(
        self, count: int, *, accounts: int = 1, at: datetime | None = None, is_silent: bool = False, **columns: Any
    ) -> list[str]:
        """Jobs whose one occurrence is due, or will be at that full minute; the next one comes a day later.

        With `is_silent` no wake-up tells of them.
        """
        due_at = at or (datetime.now(UTC) - timedelta(minutes=1)).replace(second=0, microsecond=0)
        schedule = {"hour": due_at.hour, "minute": due_at.minute}
        jobs = [
            self._make_job(
                is_scheduled=True, schedule_type="daily", schedule_config=schedule, next_run=due_at, **columns
            )
            for _ in range(count)
        ]
        periods = [
            SchedulePeriod(
                session_id=job.id,
                starts_at=due_at - timedelta(microseconds=1),
                schedule_type="daily",
                schedule_config=schedule,
                time_zone="UTC",
            )
            for job in jobs
        ]
        self._store(jobs, accounts, periods, is_silent=is_silent)
        self.expected += [(job.id, due_at) for job in jobs]
        return [job.id for job in jobs]

    def run_now(
        self, count: int = 1, *, accounts: int = 1, name: str = "account", is_silent: bool = False, **columns: Any
    ) -> list[str]:
        """Jobs without a schedule, each with a run that a person asked for."""
        jobs = [self._make_job(**columns) for _ in range(count)]
        self._store(jobs, accounts, name=name, is_silent=is_silent)
        with transaction(self.engine) as session:
            for job in jobs:
                if is_silent:
                    make_run(session, session.merge(job), at=datetime.now(UTC))
                else:
                    request_run(session, self.viewer, job.id, trigger=RunTrigger.MANUAL, now=datetime.now(UTC))
        return [job.id for job in jobs]

    def start(self, **options: Any) -> SchedulerProcess:
        """A scheduler that fires and listens."""
        self.schedulers.append(start_scheduler(self.engine, self.home, **self._with_defaults(options)))
        return self.schedulers[-1]

    def launch(self, **options: Any) -> SchedulerProcess:
        """A scheduler that is on its way."""
        self.schedulers.append(launch_scheduler(self.engine, self.home, **self._with_defaults(options)))
        return self.schedulers[-1]

    def _with_defaults(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"lease_seconds": LEASE_SECONDS, "drain_seconds": 0, "module": "tests.chaos.faulty_scheduler"} | options

    def query(self, statement: str, **values: object) -> Any:
        """The one value that the statement gives."""
        with self.engine.connect() as connection:
            return connection.execute(text(statement), values).scalar_one()

    def wait_for_ends(self, seconds: float = END_SECONDS) -> None:
        """Return once nothing is due, queued or running."""
        wait_until(lambda: self.count_left() == 0, seconds, "all runs to end")

    def count_left(self) -> int:
        return self.query(
            "SELECT (SELECT count(*) FROM import_runs WHERE status IN ('queued', 'running'))"
            " + (SELECT count(*) FROM import_sessions WHERE is_scheduled AND next_run <= now())"
        )

    def count_runs_of(self, job_id: str) -> int:
        return self.query("SELECT count(*) FROM import_runs WHERE session_id = :job", job=job_id)

    def get_run(self, job_id: str) -> Run:
        """The job's only run that is no retry."""
        with transaction(self.engine) as session:
            return session.query(Run).filter(Run.session_id == job_id, Run.trigger != RunTrigger.RETRY).one()

    def wait_for_retry(self, job_id: str, status: str = RunStatus.COMPLETED) -> Run:
        """The only retry of the job's only run, once it has this status."""
        parent = self.get_run(job_id)

        def find() -> Run | None:
            with transaction(self.engine) as session:
                retries = session.query(Run).filter(Run.session_id == job_id, Run.trigger == RunTrigger.RETRY)
                retry = retries.one_or_none()
                return retry if retry is not None and retry.status == status else None

        found = wait_until(find, END_SECONDS, f"a retry that is {status}")
        assert found is not None
        assert found.parent_run_id == parent.id
        return found

    def list_endings(self, run: Run) -> list[tuple[int | None, str, str | None]]:
        """How the run's accounts ended: row number, status and error, in the order of the CSV."""
        with transaction(self.engine) as session:
            results = session.query(Result).filter(Result.run_id == run.id).order_by(Result.row_number)
            return [(result.row_number, result.status, result.error) for result in results]

    def wait_for_status(self, job_id: str, *statuses: str, seconds: float = END_SECONDS) -> Run:
        """The job's only run that is no retry, once it has one of these statuses."""

        def find() -> Run | None:
            run = self.get_run(job_id)
            return run if run.status in statuses else None

        found = wait_until(find, seconds, f"a run that is {' or '.join(statuses)}")
        assert found is not None
        return found

    def read_log(self, job_id: str) -> str:
        """What the job's runs noted."""
        with self.engine.connect() as connection:
            lines = connection.execute(
                text(
                    "SELECT l.message FROM run_log l JOIN import_runs r ON r.id = l.run_id WHERE r.session_id = :job"
                    " ORDER BY l.id"
                ),
                {"job": job_id},
            )
            return "\n".join(lines.scalars())

    def check(self, *, may_be_live: bool = False) -> Findings:
        """The one checker, which ends every fault test."""
        return check_everything(
            self.engine,
            self.portal.list_sign_ins(),
            self.expected,
            storage=self.home / "bills",
            may_be_live=may_be_live,
        )

    def close(self) -> None:
        """End what still runs, frozen or not."""
        alive = [psutil.Process(s.pid) for s in self.schedulers if s.process.poll() is None]
        families = [child for process in alive for child in process.children(recursive=True)]
        for process in families:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        for scheduler in self.schedulers:
            scheduler.kill()
        _, left = psutil.wait_procs(families, timeout=ENDS_BY_SECONDS)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _make_job(self, **columns: Any) -> Job:
        job_id = new_id()
        return Job(
            id=job_id,
            user_id=self.viewer.user_id,
            portal_id=self._portal_id,
            name="Water bills",
            login_url=f"{self.portal.url}/login",
            billing_url=f"{self.portal.url}/billing",
            status=JobStatus.IDLE,
            **({"max_attempts": MAX_ATTEMPTS, "retry_delay_seconds": 0} | columns),
        )

    def _store(
        self,
        jobs: Sequence[Job],
        accounts: int,
        periods: Sequence[SchedulePeriod] = (),
        *,
        name: str = "account",
        is_silent: bool = False,
    ) -> None:
        secret, fingerprint = BOX.encrypt(PASSWORD), BOX.fingerprint(PASSWORD)
        with transaction(self.engine) as session:
            for job in jobs:
                job.accounts_count = accounts
            session.add_all(jobs)
            session.flush()
            session.add_all(periods)
            session.add_all(
                Account(
                    session_id=job.id,
                    row_number=row_number,
                    username=f"{name}{row_number}.{job.id}@example.com",
                    secret=secret,
                    fingerprint=fingerprint,
                    extra={},
                )
                for job in jobs
                for row_number in range(2, accounts + 2)
            )
            session.flush()
            if not is_silent:
                send_wake(session, Wake.FIRE)
