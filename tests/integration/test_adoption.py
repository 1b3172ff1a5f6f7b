"""An earlier system's tables are adopted in place: rows and ids are kept, and the tables become ours."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session

from db.engine import create_database_engine, normalise_url
from db.migrate import upgrade
from db.models import AuditEntry, Job, JobStatus, Portal, ResultStatus, Role, Run, RunStatus, User
from db.models import Result as ImportResult
from migrations.adoption.schedule_texts import with_numbers
from tests.old_system import JOBS, RESULTS, SHAPES, USERS, Shape, execute, fill, job_id, result_id


@pytest.fixture
def old(empty_database_url: str) -> Iterator[Engine]:
    """An engine on a database without tables, where an earlier system's are to be made."""
    engine = create_database_engine(normalise_url(empty_database_url), application="tests")
    yield engine
    engine.dispose()


def at(value: str) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_row_and_id_is_kept(old: Engine, shape: Shape) -> None:
    fill(old, shape)
    upgrade(old)
    with Session(old) as session:
        assert {u.id: (u.email, u.created_at) for u in session.scalars(select(User))} == {
            user_id: (email, at(created)) for user_id, email, created in USERS
        }
        assert {(j.id, j.user_id, j.login_url, j.created_at) for j in session.scalars(select(Job))} == {
            (job_id(number), USERS[owner][0], url, at(created)) for number, owner, url, _, created, _ in JOBS
        }
        results = session.scalars(select(ImportResult).order_by(ImportResult.id)).all()
        assert [r.id for r in results] == [result_id(n) for n in range(1, 41)]
        assert {r.session_id for r in results} == {job_id(n) for n in RESULTS}
        assert results[0].username == "account0@customer.example"
        assert results[0].created_at == at("2026-01-05 09:01:00")
    with old.connect() as connection:
        members = connection.execute(text("SELECT user_id::text, team FROM team_members ORDER BY 1")).all()
        assert members == [(USERS[0][0], "finance"), (USERS[1][0], "finance")]


def test_naive_times_are_utc_whatever_the_session_says(empty_database_url: str) -> None:
    zone = {"options": "-c timezone=America/New_York"}
    engine = create_engine(normalise_url(empty_database_url), connect_args=zone)
    fill(engine)
    upgrade(engine)
    with Session(engine) as session:
        job = session.get_one(Job, job_id(3))
        assert job.created_at == at("2026-02-10 07:00:00")
        assert job.next_run == at("2026-07-01 02:30:00")
        assert job.last_scheduled_run == at("2026-06-30 02:30:00")
    engine.dispose()


def test_times_with_zone_stay_the_same_instants(empty_database_url: str) -> None:
    zone = {"options": "-c timezone=America/New_York"}
    engine = create_engine(normalise_url(empty_database_url), connect_args=zone)
    fill(engine, Shape(times="timestamptz"))
    upgrade(engine)
    with Session(engine) as session:
        assert session.get_one(Job, job_id(3)).created_at == at("2026-02-10 12:00:00")  # 07:00 in New York
    engine.dispose()


def test_users_sign_in_by_their_address_and_two_of_the_same_are_told_apart(old: Engine) -> None:
    fill(old)
    upgrade(old)
    with Session(old) as session:
        users = {u.id[-1]: u for u in session.scalars(select(User))}
    assert {key: (u.username, u.name, u.role, u.is_active) for key, u in users.items()} == {
        "1": ("Ann.Lee@example.com", "Ann.Lee", Role.OPERATOR, True),
        "2": ("bob@example.com", "bob", Role.OPERATOR, True),
        "3": ("ann.lee@EXAMPLE.com2", "ann.lee", Role.OPERATOR, True),
    }
    assert users["3"].email == "ann.lee@EXAMPLE.com"


def test_a_number_after_a_username_never_makes_another_users_name(old: Engine) -> None:
    fill(old)
    execute(old, "INSERT INTO users VALUES ('x', 'ANN.LEE@example.com2', 'h', '2026-02-01')")
    upgrade(old)
    with Session(old) as session:
        assert session.get_one(User, "x").username == "ANN.LEE@example.com2"
        assert session.get_one(User, USERS[2][0]).username == "ann.lee@EXAMPLE.com3"


def test_known_roles_of_the_earlier_system_are_honoured(old: Engine) -> None:
    fill(old)
    execute(
        old,
        "ALTER TABLE users ADD COLUMN role varchar, ADD COLUMN is_admin boolean NOT NULL DEFAULT false",
        "UPDATE users SET role = 'Viewer' WHERE email = 'bob@example.com'",
        "UPDATE users SET role = 'owner' WHERE email = 'ann.lee@EXAMPLE.com'",
        "UPDATE users SET role = 'user', is_admin = true WHERE email = 'Ann.Lee@example.com'",
    )
    upgrade(old)
    with Session(old) as session:
        assert [session.get_one(User, u[0]).role for u in USERS] == [Role.ADMIN, Role.VIEWER, Role.OPERATOR]


def test_jobs_get_names_portals_and_states(old: Engine) -> None:
    fill(old)
    upgrade(old)
    with Session(old) as session:
        jobs = session.scalars(select(Job).order_by(Job.id)).all()
        hosts = {p.id: p for p in session.scalars(select(Portal))}
        assert [j.name for j in jobs] == [
            "portal.example 2026-01-05",
            "portal.example 2026-01-05 (2)",
            "bills.example:8080 2026-02-10",
            "bills.example:8080 2026-02-11",
            "other.example 2026-03-01",
            "other.example 2026-03-01 (2)",
        ]
        assert [j.status for j in jobs] == [
            *(JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.FAILED),
            *(JobStatus.IDLE, JobStatus.PARTIAL, JobStatus.STOPPED),
        ]
        assert [hosts[j.portal_id or 0].host for j in jobs] == [
            *("portal.example", "portal.example", "bills.example:8080"),
            *("bills.example:8080", "other.example", "other.example"),
        ]
        bills = next(p for p in hosts.values() if p.host == "bills.example:8080")
        assert (bills.authorised_by, bills.authorised_at) == (USERS[1][0], at("2026-02-10 07:00:00"))
        assert {(j.time_zone, j.version, j.csv_url is not None, j.updated_at == j.created_at) for j in jobs} == {
            ("UTC", 1, True, True)
        }


def test_schedules_that_mean_something_go_on(old: Engine) -> None:
    fill(old)
    upgrade(old)
    with Session(old) as session:
        daily, custom = session.get_one(Job, job_id(3)), session.get_one(Job, job_id(5))
        assert (daily.is_scheduled, daily.schedule_type) == (True, "daily")
        assert daily.schedule_config == {"hour": 2, "minute": 30}
        assert (daily.next_run, daily.last_scheduled_run) == (at("2026-07-01 02:30:00"), at("2026-06-30 02:30:00"))
        assert (custom.is_scheduled, custom.schedule_config) == (True, {"cron_expression": "0 12 * * 1,3,5"})
        assert custom.next_run is not None
        assert custom.next_run > datetime.now(UTC)


def test_schedules_that_mean_nothing_are_kept_switched_off_with_the_reason(old: Engine) -> None:
    fill(old)
    upgrade(old)
    with Session(old) as session:
        weekly, hourly = session.get_one(Job, job_id(4)), session.get_one(Job, job_id(6))
        assert (weekly.is_scheduled, weekly.schedule_type, weekly.next_run) == (False, "weekly", None)
        assert weekly.schedule_config == {"day_of_week": 1, "minute": 0}
        assert (hourly.is_scheduled, hourly.schedule_type, hourly.schedule_config) == (False, None, {"minute": 5})
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.subject)).all()
        entries = [e for e in entries if e.action == "schedule switched off"]
        assert [e.subject for e in entries] == [f"job {job_id(4)}", f"job {job_id(6)}"]
        assert "hour is missing" in (entries[0].after or {})["reason"]
        assert (entries[0].before or {})["next_run"] == "2026-07-06T09:00:00+00:00"
        assert (entries[1].before or {})["schedule_type"] == "hourly"


@pytest.mark.parametrize("found", ["not json at all", "[1, 2]", '"x"', "17", "{"])
def test_a_config_that_is_no_object_is_kept_inside_one(old: Engine, found: str) -> None:
    fill(old, Shape(config="text"))
    with old.begin() as connection:
        connection.execute(text("UPDATE import_sessions SET schedule_config = :c WHERE is_scheduled"), {"c": found})
    upgrade(old)
    with Session(old) as session:
        jobs = session.scalars(select(Job).where(Job.schedule_type == "daily")).all()
        assert [(j.is_scheduled, list(j.schedule_config or {})) for j in jobs] == [(False, ["earlier_value"])]


def test_results_of_a_job_become_one_finished_run(old: Engine) -> None:
    fill(old)
    upgrade(old)
    with Session(old) as session:
        runs = {r.session_id: r for r in session.scalars(select(Run))}
        assert {i: (r.status, r.accounts_total, r.accounts_succeeded) for i, r in runs.items()} == {
            job_id(1): (RunStatus.COMPLETED, 10, 10),
            job_id(2): (RunStatus.PARTIAL, 8, 4),
            job_id(3): (RunStatus.FAILED, 6, 0),
            job_id(5): (RunStatus.PARTIAL, 16, 14),
        }
        run = runs[job_id(2)]
        assert (run.trigger, run.reason, run.worker) == ("backfill", "Brought over from the earlier system", None)
        assert (run.queued_at, run.started_at, run.finished_at) == (
            *(at("2026-01-05 15:31:00"), at("2026-01-05 15:31:00"), at("2026-01-05 15:38:00")),
        )
        job = session.get_one(Job, job_id(2))
        assert (job.last_run_id, job.last_run_at, job.last_outcome, job.results_count) == (
            *(run.id, run.started_at, RunStatus.PARTIAL, 8),
        )
        untouched = session.get_one(Job, job_id(4))
        assert (untouched.last_run_id, untouched.last_outcome, untouched.results_count) == (None, None, 0)


def test_results_keep_their_order_words_and_files(old: Engine) -> None:
    fill(old)
    upgrade(old)
    with Session(old) as session:
        query = select(ImportResult).where(ImportResult.session_id == job_id(2)).order_by(ImportResult.row_number)
        results = session.scalars(query).all()
        wrong, failed, success = ResultStatus.WRONG_CREDENTIALS, ResultStatus.FAILED, ResultStatus.SUCCESS
        assert [(r.row_number, r.status, r.error, r.bills_seen, r.bills_new) for r in results] == [
            (1, success, None, 1, 1),
            (2, wrong, None, 0, 0),
            (3, failed, "the page did not load", 0, 0),
            (4, wrong, None, 0, 0),
            (5, failed, "timeout", 0, 0),
            (6, success, None, 0, 0),
            (7, success, None, 1, 1),
            (8, success, None, 1, 1),
        ]
        assert [r.retry_attempts for r in results] == [0, 1, 2, 0, 1, 2, 0, 1]
        assert {r.account_id for r in results} == {None}


def test_hour_without_a_minute_is_read_as_on_the_hour() -> None:
    assert with_numbers({"day_of_week": "1", "hour": "9"}) == {"day_of_week": 1, "hour": 9, "minute": 0}
    assert with_numbers({"day_of_week": 1, "minute": 5}) == {"day_of_week": 1, "minute": 5}
