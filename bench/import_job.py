"""A job of imports for benchmarks: as many accounts as wanted at one portal, with all politeness off."""

from datetime import UTC, datetime

from sqlalchemy import Engine, text, update

from bench.processes import SECRET_KEY
from db.accounts import NewAccount
from db.encryption import SecretBox
from db.engine import transaction
from db.jobs import JobDraft, create_job
from db.models import Portal, Role, RunTrigger
from db.runs import request_run
from db.users import create_user
from db.viewers import Viewer
from db.wake import Wake, send_wake

USERNAME, PASSWORD = "bench", "a long Made-up pass phrase 1"


def add_import_job(
    engine: Engine, portal: str, accounts: int, *, concurrent: int, billing: str = "/bills"
) -> tuple[Viewer, str]:
    """The job's owner and its id; the accounts are those of `bench.bill_portal` and `bench.demo_portal`."""
    with transaction(engine) as session:
        user = create_user(session, username=USERNAME, password=PASSWORD, role=Role.OPERATOR)
        viewer = Viewer(user.id, user.username, user.name, Role.OPERATOR)
        draft = JobDraft(
            name="Bills",
            login_url=f"http://{portal}/login",
            billing_url=f"http://{portal}{billing}",
            portal_host=portal,
            schedule=None,
            accounts=[NewAccount(n + 2, f"user{n:05}", f"secret-user{n:05}", {}) for n in range(accounts)],
        )
        job = create_job(session, viewer, draft, SecretBox((SECRET_KEY,)), authorised=True, now=datetime.now(UTC))
        session.execute(update(Portal).values(min_seconds_between_requests=0, max_concurrent_accounts=concurrent))
        return viewer, job.id


def start_import(engine: Engine, viewer: Viewer, job_id: str) -> int:
    """Ask for a run now; its id."""
    with transaction(engine) as session:
        run_id = request_run(session, viewer, job_id, trigger=RunTrigger.MANUAL, now=datetime.now(UTC)).id
        send_wake(session, Wake.CLAIM)
        return run_id


def has_ended(engine: Engine, run_id: int) -> bool:
    """Whether the run has come to its end."""
    ended = text("SELECT 1 FROM import_runs WHERE id = :id AND finished_at IS NOT NULL")
    with engine.connect() as connection:
        return connection.execute(ended, {"id": run_id}).first() is not None
