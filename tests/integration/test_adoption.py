"""An earlier system's tables are adopted in place: rows and ids are kept, and the tables become ours."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.engine import create_database_engine, normalise_url
from db.migrate import is_current, upgrade
from db.models import AuditEntry, Job, JobStatus, Portal, ResultStatus, Role, Run, RunStatus, User
from db.models import Result as ImportResult
from tests.catalogue import constraints_and_indexes, differences_from_models, everything
from tests.old_system import JOBS, RESULTS, USERS, Shape, fill_old_tables, insert, job_id, make_old_tables, result_id

SHAPES = [
    Shape(ids=ids, has_schedules=has_schedules, times=times, config=config)
    for ids, has_schedules, times, config in [
        ("varchar", True, "timestamp", "json"),
        ("varchar(36)", False, "timestamp", "json"),
        ("uuid", True, "timestamp", "jsonb"),
        ("uuid", False, "timestamptz", "json"),
        ("text", True, "timestamp(0)", "text"),
    ]
]


@pytest.fixture
def old(empty_database_url: str) -> Iterator[Engine]:
    """An engine on a database without tables, where an earlier system's are to be made."""
    engine = create_database_engine(normalise_url(empty_database_url), application="tests")
    yield engine
    engine.dispose()


def fill(engine: Engine, shape: Shape | None = None) -> None:
    shape = shape or Shape()
    with engine.begin() as connection:
        make_old_tables(connection, shape)
        fill_old_tables(connection, shape)


def execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def at(value: str) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adopted_tables_are_those_of_the_models(old: Engine, engine: Engine, shape: Shape) -> None:
    fill(old, shape)
    upgrade(old)
    assert differences_from_models(old) == []
    assert constraints_and_indexes(old) == constraints_and_indexes(engine)


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


def test_upgrading_again_changes_nothing(old: Engine) -> None:
    fill(old)
    upgrade(old)
    before = everything(old)
    assert upgrade(old) == []
    assert everything(old) == before


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
        assert weekly.schedule_config == {"day_of_week": 1, "hour": 9}
        assert (hourly.is_scheduled, hourly.schedule_type, hourly.schedule_config) == (False, None, {"minute": 5})
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.subject)).all()
        entries = [e for e in entries if e.action == "schedule switched off"]
        assert [e.subject for e in entries] == [f"job {job_id(4)}", f"job {job_id(6)}"]
        assert "minute is missing" in (entries[0].after or {})["reason"]
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


@pytest.mark.parametrize("ids", ["varchar", "uuid"])
def test_foreign_keys_of_other_tables_go_on_working(old: Engine, ids: str) -> None:
    fill(old, Shape(ids=ids))
    execute(
        old,
        f"CREATE TABLE reviews (id serial PRIMARY KEY, result {ids} REFERENCES import_results DEFERRABLE, author {ids},"
        ' team text, CONSTRAINT "by Member" FOREIGN KEY (author, team) REFERENCES team_members (user_id, team))',
        "INSERT INTO reviews (result, author, team) SELECT r.id, m.user_id, m.team"
        " FROM team_members m, import_results r ORDER BY m.user_id, r.id LIMIT 1",
    )
    upgrade(old)
    with old.connect() as connection:
        definitions = connection.scalars(
            text(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
                " AND conrelid::regclass::text IN ('reviews', 'team_members') ORDER BY 1"
            )
        ).all()
    assert definitions == [
        "FOREIGN KEY (author, team) REFERENCES team_members(user_id, team)",
        "FOREIGN KEY (result) REFERENCES import_results(id) DEFERRABLE",
        "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE",
    ]
    with pytest.raises(IntegrityError), old.begin() as connection:
        insert(connection, "team_members", user_id="8c1f6f0e-2f6b-4a53-9a57-0d6a4bb1f009", team="ghosts")
    execute(old, "DELETE FROM reviews", "DELETE FROM users WHERE email = 'Ann.Lee@example.com'")
    with old.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM team_members")) == 1


def test_numbers_as_ids_become_text_and_new_rows_still_get_ids(old: Engine) -> None:
    execute(
        old,
        "CREATE TABLE users (id serial PRIMARY KEY, email text, password_hash text, created_at timestamp)",
        "CREATE TABLE import_sessions (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int REFERENCES users,"
        " csv_url text, login_url text, billing_url text, status text, created_at timestamp)",
        "CREATE TABLE logins (user_id int NOT NULL REFERENCES users)",
        "INSERT INTO users (email, password_hash) VALUES ('a@b.example', 'h')",
        "INSERT INTO import_sessions (user_id, login_url, billing_url) VALUES (1, 'https://p.example', 'https://p.example')",
        "INSERT INTO logins VALUES (1)",
    )
    upgrade(old)
    assert differences_from_models(old) == []
    with Session(old) as session:
        job = session.scalars(select(Job)).one()
        assert (job.id, job.user_id, job.status) == ("1", "1", JobStatus.IDLE)
        assert (datetime.now(UTC) - job.created_at).total_seconds() < 60
        session.add(Job(user_id="1", name="new", login_url="https://p.example", billing_url="https://p.example"))
        session.flush()
        assert session.scalar(text("SELECT user_id FROM logins")) == "1"


def test_unknown_columns_and_tables_stay_and_do_not_stop_new_rows(old: Engine) -> None:
    fill(old)
    execute(
        old,
        "ALTER TABLE users ADD COLUMN phone varchar(20) NOT NULL DEFAULT 'none'",
        "ALTER TABLE users ALTER COLUMN phone DROP DEFAULT",
        "CREATE INDEX by_phone ON users (phone, email)",
        "CREATE TABLE settings (key text PRIMARY KEY, value json)",
        "INSERT INTO settings VALUES ('theme', '\"dark\"')",
    )
    upgrade(old)
    assert [d[0] for d in differences_from_models(old, frozenset({"users.phone"}))] == ["remove_index"]
    with old.begin() as connection:
        assert connection.scalars(text("SELECT DISTINCT phone FROM users")).all() == ["none"]
        assert connection.execute(text("SELECT key, value::text FROM settings")).all() == [("theme", '"dark"')]
        assert connection.scalar(text("SELECT to_regclass('by_phone')::text")) == "by_phone"
        insert(connection, "users", username="new", name="New", password_hash="h")


def test_a_unique_column_that_another_table_refers_to_stays_unique(old: Engine) -> None:
    fill(old)
    execute(
        old,
        "CREATE TABLE newsletter (email varchar REFERENCES users (email))",
        "INSERT INTO newsletter VALUES ('bob@example.com')",
    )
    upgrade(old)
    with pytest.raises(IntegrityError), old.begin() as connection:
        insert(connection, "newsletter", email="nobody@example.com")


def test_only_users_are_adopted_where_there_is_nothing_else(old: Engine) -> None:
    execute(
        old,
        "CREATE TABLE users (id uuid PRIMARY KEY, email text, password_hash text, created_at timestamptz)",
        "INSERT INTO users VALUES (gen_random_uuid(), 'a@b.example', 'h', NULL)",
    )
    upgrade(old)
    assert is_current(old)
    assert differences_from_models(old) == []
