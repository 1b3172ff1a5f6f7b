"""Jobs: made, listed, edited, paused and deleted by their owner, and by nobody else."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from db.accounts import NewAccount
from db.bills import get_bill, list_run_bills
from db.engine import transaction
from db.errors import ConflictError, NotAllowedError, NotFoundError, PortalNotAuthorisedError
from db.firing import fire_due_jobs
from db.jobs import (
    create_job,
    delete_job,
    get_job,
    pause_job,
    resume_job,
    update_accounts,
    update_job,
    update_schedule,
)
from db.models import (
    Account,
    AuditEntry,
    Bill,
    CatchUp,
    Job,
    Overlap,
    Portal,
    Result,
    ResultStatus,
    Role,
    Run,
    RunLogLine,
    RunStatus,
    RunTrigger,
)
from db.results import get_result, list_results
from db.runs import get_run, list_runs, request_run, request_stop
from db.schedules import RunPolicy, Schedule
from db.viewers import Viewer
from recurrence import InvalidScheduleError
from tests.factories import BOX, DAILY, EVERY_MINUTE, NOW, make_draft, make_run, make_viewer

NEXT_DAILY = datetime(2025, 3, 11, 2, 0, tzinfo=UTC)
ROW = NewAccount(2, "ann@example.com", "secret-9", {})


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


def create(engine: Engine, viewer: Viewer, schedule: Schedule | None = None, **changes: object) -> Job:
    with transaction(engine) as session:
        draft = replace(make_draft(schedule=schedule), **changes)  # type: ignore[arg-type]
        return create_job(session, viewer, draft, BOX, authorised=True, now=NOW)


def read(engine: Engine, job_id: str) -> Job:
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


def list_audit(engine: Engine) -> list[AuditEntry]:
    with transaction(engine) as session:
        return list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))


# Creating


def test_created_job_waits_for_its_first_occurrence(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer, DAILY, policy=RunPolicy(CatchUp.ALL, Overlap.QUEUE), timeout_seconds=99)
    stored = read(engine, job.id)
    assert (stored.user_id, stored.status, stored.accounts_count, stored.version) == (viewer.user_id, "idle", 2, 1)
    assert (stored.is_scheduled, stored.next_run, stored.last_scheduled_run) == (True, NEXT_DAILY, None)
    assert (stored.catch_up, stored.overlap, stored.timeout_seconds) == ("all", "queue", 99)
    assert (stored.created_at, stored.updated_at) == (NOW, NOW)
    with transaction(engine) as session:
        assert session.scalar(select(Portal.host).where(Portal.id == stored.portal_id)) == "portal.example"


def test_job_without_a_schedule_never_fires(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, replace(viewer, time_zone="Asia/Tokyo"))
    assert (job.is_scheduled, job.next_run, job.time_zone) == (False, None, "Asia/Tokyo")


def test_schedule_that_makes_no_sense_creates_nothing(engine: Engine, viewer: Viewer) -> None:
    with pytest.raises(InvalidScheduleError):
        create(engine, viewer, Schedule("daily", {"hour": 25, "minute": 0}, "UTC"))
    with transaction(engine) as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0
        assert session.scalar(select(func.count()).select_from(Portal)) == 0


def test_passwords_are_stored_encrypted_and_nowhere_else(engine: Engine, viewer: Viewer) -> None:
    draft = make_draft(accounts=3)
    assert "secret-" not in repr(draft)
    job = create(engine, viewer)
    with transaction(engine) as session:
        update_accounts(session, viewer, job.id, [ROW], BOX, now=NOW)
        account = session.scalars(select(Account)).one()
        assert BOX.decrypt(account.secret) == "secret-9"
        assert "secret-9" not in repr(account)
        assert "secret-9" not in repr(ROW)
    with engine.connect() as connection:
        for table in connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all():
            for row in connection.scalars(text(f'SELECT t::text FROM "{table}" AS t')):  # noqa: S608
                assert "secret-" not in row
                assert b"secret-".hex() not in row


# Editing


def test_edit_changes_what_is_given(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer, DAILY)
    with transaction(engine) as session:
        update_job(
            session,
            viewer,
            job.id,
            now=NOW + timedelta(hours=1),
            name="Gas",
            login_url="https://gas.example/in",
            portal_host="gas.example",
            authorised=True,
            timeout_seconds=5,
            policy=RunPolicy(CatchUp.NONE, Overlap.QUEUE),
        )
    stored = read(engine, job.id)
    assert (stored.name, stored.login_url, stored.billing_url) == ("Gas", "https://gas.example/in", job.billing_url)
    assert (stored.timeout_seconds, stored.catch_up, stored.overlap) == (5, "none", "queue")
    assert (stored.version, stored.updated_at, stored.next_run) == (2, NOW + timedelta(hours=1), NEXT_DAILY)
    assert stored.portal_id != job.portal_id
    entry = list_audit(engine)[-1]
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.action, entry.user_id, entry.before["name"], entry.after["name"]) == (
        "job edited",
        viewer.user_id,
        "Water bills",
        "Gas",
    )


def test_edit_to_a_portal_nobody_may_use_changes_nothing(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer)
    with pytest.raises(PortalNotAuthorisedError), transaction(engine) as session:
        update_job(session, viewer, job.id, now=NOW, name="Gas", portal_host="gas.example")
    assert read(engine, job.id).name == "Water bills"


def test_edit_of_an_outdated_version_is_refused(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer)
    with transaction(engine) as session:
        update_job(session, viewer, job.id, now=NOW, name="first", expected_version=1)
    for edit in (
        lambda s: update_job(s, viewer, job.id, now=NOW, name="second", expected_version=1),
        lambda s: update_schedule(s, viewer, job.id, DAILY, now=NOW, expected_version=1),
        lambda s: update_accounts(s, viewer, job.id, [ROW], BOX, now=NOW, expected_version=1),
    ):
        with pytest.raises(ConflictError, match="changed meanwhile"), transaction(engine) as session:
            edit(session)
    stored = read(engine, job.id)
    assert (stored.name, stored.version, stored.is_scheduled) == ("first", 2, False)


def test_of_two_edits_at_once_one_is_refused(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer)
    barrier = threading.Barrier(4)
    answers: list[str] = []

    def edit(name: str) -> None:
        barrier.wait(20)
        try:
            with transaction(engine) as session:
                update_job(session, viewer, job.id, now=NOW, name=name, expected_version=1)
        except ConflictError:
            answers.append("refused")
        else:
            answers.append(name)

    threads = [threading.Thread(target=edit, args=(f"name {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answers)[1:] == ["refused"] * 3
    assert (read(engine, job.id).name, read(engine, job.id).version) == (sorted(answers)[0], 2)


def test_new_schedule_starts_after_now(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer)
    with transaction(engine) as session:
        update_schedule(session, viewer, job.id, DAILY, now=NOW)
    assert read(engine, job.id).next_run == NEXT_DAILY
    with transaction(engine) as session:
        update_schedule(session, viewer, job.id, None, now=NOW)
    stored = read(engine, job.id)
    assert (stored.is_scheduled, stored.next_run, stored.schedule_type) == (False, None, "daily")


def test_schedule_of_a_paused_job_can_change_without_waking_it(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer, DAILY)
    with transaction(engine) as session:
        pause_job(session, viewer, job.id, now=NOW)
        update_schedule(session, viewer, job.id, EVERY_MINUTE, now=NOW)
    assert read(engine, job.id).paused_at == NOW
    with transaction(engine) as session:
        assert fire_due_jobs(session, NOW + timedelta(hours=1)).due == 0


# Pausing


def test_paused_job_does_not_fire_and_resuming_runs_nothing_at_once(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer, EVERY_MINUTE)
    with transaction(engine) as session:
        pause_job(session, viewer, job.id, now=NOW)
        pause_job(session, viewer, job.id, now=NOW + timedelta(minutes=1))
    assert (read(engine, job.id).paused_at, read(engine, job.id).version) == (NOW, 2)
    later = NOW + timedelta(days=3, seconds=30)
    with transaction(engine) as session:
        assert fire_due_jobs(session, later).due == 0
        resume_job(session, viewer, job.id, now=later)
        resume_job(session, viewer, job.id, now=later)
        assert fire_due_jobs(session, later).due == 0
    stored = read(engine, job.id)
    assert (stored.paused_at, stored.next_run) == (None, NOW + timedelta(days=3, minutes=1))
    assert [e.action for e in list_audit(engine)][-2:] == ["job paused", "job resumed"]


def test_job_without_a_schedule_cannot_be_paused(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer)
    with pytest.raises(ConflictError, match="no schedule"), transaction(engine) as session:
        pause_job(session, viewer, job.id, now=NOW)


def test_job_whose_schedule_cannot_be_read_cannot_be_resumed(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer, DAILY)
    with transaction(engine) as session:
        session.execute(text("UPDATE import_sessions SET time_zone = 'Mars/Olympus', paused_at = now()"))
    with pytest.raises(InvalidScheduleError), transaction(engine) as session:
        resume_job(session, viewer, job.id, now=NOW)


# Deleting


def fill(session: Session, job: Job) -> tuple[Run, Result, Bill]:
    """A run with everything that hangs on it."""
    account = session.scalars(select(Account).where(Account.session_id == job.id)).first()
    assert account is not None
    run = make_run(session, job, status=RunStatus.COMPLETED)
    result = Result(
        run_id=run.id,
        session_id=job.id,
        account_id=account.id,
        username=account.username,
        row_number=2,
        status=ResultStatus.SUCCESS,
        created_at=NOW,
    )
    bill = Bill(
        session_id=job.id, account_id=account.id, username=account.username, bill_key="1", first_seen_run=run.id
    )
    session.add_all([result, bill, RunLogLine(run_id=run.id, message="x")])
    session.flush()
    return run, result, bill


def test_delete_takes_everything_of_the_job_and_of_no_other(engine: Engine, viewer: Viewer) -> None:
    gone, kept = create(engine, viewer), create(engine, viewer)
    with transaction(engine) as session:
        for job in (gone, kept):
            fill(session, session.get_one(Job, job.id))
    with transaction(engine) as session:
        delete_job(session, viewer, gone.id)
    with transaction(engine) as session:
        assert session.scalars(select(Job.id)).all() == [kept.id]
        for table in (Account.session_id, Run.session_id, Result.session_id, Bill.session_id):
            assert set(session.scalars(select(table))) == {kept.id}
        assert session.scalar(select(func.count()).select_from(RunLogLine)) == 1
    entry = list_audit(engine)[-1]
    assert (entry.action, entry.subject, (entry.before or {})["name"]) == ("job deleted", f"job {gone.id}", gone.name)


def test_delete_and_new_accounts_are_refused_while_a_run_is_in_progress(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer)
    with transaction(engine) as session:
        make_run(session, session.get_one(Job, job.id), status=RunStatus.RUNNING)
    with pytest.raises(ConflictError, match="in progress"), transaction(engine) as session:
        delete_job(session, viewer, job.id)
    with pytest.raises(ConflictError, match="in progress"), transaction(engine) as session:
        update_accounts(session, viewer, job.id, [ROW], BOX, now=NOW)
    assert read(engine, job.id).accounts_count == 2


# Whose is it


def dump(engine: Engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        tables = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        return {t: sorted(connection.scalars(text(f'SELECT t::text FROM "{t}" AS t'))) for t in tables}  # noqa: S608


class Things:
    """A job with a run, a result and a bill, and the ids of all of them."""

    def __init__(self, engine: Engine, owner: Viewer) -> None:
        job = create(engine, owner, DAILY)
        with transaction(engine) as session:
            run, result, bill = fill(session, session.get_one(Job, job.id))
        self.job, self.run, self.result, self.bill = job.id, run.id, result.id, bill.id


READS: dict[str, Callable[[Session, Viewer, Things], object]] = {
    "get_job": lambda s, v, t: get_job(s, v, t.job),
    "list_runs": lambda s, v, t: list_runs(s, v, t.job),
    "get_run": lambda s, v, t: get_run(s, v, t.run),
    "list_results": lambda s, v, t: list_results(s, v, t.run),
    "get_result": lambda s, v, t: get_result(s, v, t.result),
    "get_bill": lambda s, v, t: get_bill(s, v, t.bill),
    "list_run_bills": lambda s, v, t: list_run_bills(s, v, t.run),
}
WRITES: dict[str, Callable[[Session, Viewer, Things], object]] = {
    "update_job": lambda s, v, t: update_job(s, v, t.job, now=NOW, name="mine"),
    "update_schedule": lambda s, v, t: update_schedule(s, v, t.job, None, now=NOW),
    "update_accounts": lambda s, v, t: update_accounts(s, v, t.job, [ROW], BOX, now=NOW),
    "pause_job": lambda s, v, t: pause_job(s, v, t.job, now=NOW),
    "resume_job": lambda s, v, t: resume_job(s, v, t.job, now=NOW),
    "delete_job": lambda s, v, t: delete_job(s, v, t.job),
    "request_run": lambda s, v, t: request_run(s, v, t.job, trigger=RunTrigger.MANUAL, now=NOW),
    "request_stop": lambda s, v, t: request_stop(s, v, t.job, now=NOW),
}


@pytest.mark.parametrize("verb", [*READS, *WRITES])
@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER])
def test_what_belongs_to_others_does_not_exist(engine: Engine, viewer: Viewer, verb: str, role: Role) -> None:
    things = Things(engine, viewer)
    with transaction(engine) as session:
        stranger = make_viewer(session, "stranger", role)
    before = dump(engine)
    with pytest.raises(NotFoundError, match="no such"), transaction(engine) as session:
        (READS | WRITES)[verb](session, stranger, things)
    assert dump(engine) == before


@pytest.mark.parametrize("verb", WRITES)
def test_viewer_role_may_look_but_not_change(engine: Engine, viewer: Viewer, verb: str) -> None:
    things = Things(engine, viewer)
    onlooker = replace(viewer, role=Role.VIEWER)
    before = dump(engine)
    with pytest.raises(NotAllowedError), transaction(engine) as session:
        WRITES[verb](session, onlooker, things)
    assert dump(engine) == before


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize("role", list(Role))
def test_owner_and_admin_may_look(engine: Engine, viewer: Viewer, verb: str, role: Role) -> None:
    things = Things(engine, viewer)
    with transaction(engine) as session:
        reader = make_viewer(session, "root", role) if role == Role.ADMIN else replace(viewer, role=role)
        assert READS[verb](session, reader, things)


def test_viewer_role_creates_nothing(engine: Engine, viewer: Viewer) -> None:
    before = dump(engine)
    with pytest.raises(NotAllowedError):
        create(engine, replace(viewer, role=Role.VIEWER))
    assert dump(engine) == before


def test_admin_changes_everyones_jobs(engine: Engine, viewer: Viewer) -> None:
    job = create(engine, viewer)
    with transaction(engine) as session:
        admin = make_viewer(session, "root", Role.ADMIN)
        update_job(session, admin, job.id, now=NOW, name="by root")
    assert (read(engine, job.id).name, read(engine, job.id).user_id) == ("by root", viewer.user_id)
    assert list_audit(engine)[-1].user_id == admin.user_id


@pytest.mark.parametrize("name", ["get_job", "get_result"])
def test_ids_that_are_no_ids_are_not_found(engine: Engine, viewer: Viewer, name: str) -> None:
    read_one = {"get_job": get_job, "get_result": get_result}[name]
    with transaction(engine) as session:
        for nonsense in ("", "x" * 5000, "'; DROP TABLE users; --"):
            with pytest.raises(NotFoundError):
                read_one(session, viewer, nonsense)


def test_create_job_refuses_a_schedule_that_never_comes(engine: Engine) -> None:
    # each second Sunday of March, within the hour that New York's clocks leave out on that day
    never = Schedule("custom", {"cron_expression": "*/10 2 * 3 0#2"}, "America/New_York")
    with transaction(engine) as session:
        viewer = make_viewer(session)
    with pytest.raises(InvalidScheduleError, match="never fires"), transaction(engine) as session:
        create_job(session, viewer, make_draft(schedule=never), BOX, authorised=True, now=NOW)
    with transaction(engine) as session:
        assert session.scalars(select(Job)).all() == []
