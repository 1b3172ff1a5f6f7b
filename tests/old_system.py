"""A database as the earlier system left it: its tables, and rows like those that people made with it."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text

USERS = [
    ("8c1f6f0e-2f6b-4a53-9a57-0d6a4bb1f001", "Ann.Lee@example.com", "2025-11-03 08:15:00"),
    ("8c1f6f0e-2f6b-4a53-9a57-0d6a4bb1f002", "bob@example.com", "2025-12-01 10:00:00"),
    ("8c1f6f0e-2f6b-4a53-9a57-0d6a4bb1f003", "ann.lee@EXAMPLE.com", "2026-01-20 17:45:30"),
]
# Per job: number, owner, login URL, status, made at, schedule (is_scheduled, type, config, next_run, last).
NONE = (False, None, None, None, None)
JOBS = [
    (1, 0, "https://Portal.Example/login", "completed", "2026-01-05 09:00:00", NONE),
    (2, 0, "https://portal.example:443/login", "running", "2026-01-05 15:30:00", NONE),
    (
        *(3, 1, "http://bills.example:8080/sign-in", "failed", "2026-02-10 07:00:00"),
        (True, "daily", {"hour": "2", "minute": 30}, "2026-07-01 02:30:00", "2026-06-30 02:30:00"),
    ),
    (
        *(4, 1, "http://bills.example:8080/sign-in?x=1", "pending", "2026-02-11 07:00:00"),
        (True, "weekly", {"day_of_week": 1, "minute": 0}, "2026-07-06 09:00:00", None),
    ),
    (
        *(5, 2, "https://other.example/", "Partial Success", "2026-03-01 12:00:00"),
        (True, "custom", json.dumps({"cron_expression": "0 12 * * 1,3,5"}), None, None),
    ),
    (
        *(6, 2, "https://other.example/", "cancelled", "2026-03-01 18:00:00"),
        (False, "hourly", {"minute": 5}, None, None),
    ),
]
# Results a job has, by the earlier system's words.
RESULTS = {
    1: ["success"] * 9 + ["no_bills"],
    2: ["success", "Invalid Credentials", "failed", "LOGIN_FAILED", "timeout", "completed", "success", "success"],
    3: ["failed"] * 4 + ["error"] * 2,
    5: ["success"] * 10 + ["No bill(s)"] * 2 + ["not found"] * 2 + ["failed"] * 2,
}


@dataclass(frozen=True)
class Shape:
    """How the tables were made: the type of ids and times, and whether jobs have schedules."""

    ids: str = "varchar"
    times: str = "timestamp"
    has_schedules: bool = True
    config: str = "json"


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


def job_id(number: int) -> str:
    return f"5e55107e-0000-4000-8000-{number:012d}"


def result_id(number: int) -> str:
    return f"7e501700-0000-4000-8000-{number:012d}"


def make_old_tables(connection: Connection, shape: Shape) -> None:
    """The three tables and another that refers to them, without rows."""
    schedules = f"""
        , is_scheduled boolean DEFAULT false, schedule_type varchar, schedule_config {shape.config},
        next_run {shape.times}, last_scheduled_run {shape.times}
    """
    connection.exec_driver_sql(f"""
        CREATE TABLE users (
            id {shape.ids} PRIMARY KEY, email varchar NOT NULL, password_hash varchar NOT NULL,
            created_at {shape.times} DEFAULT now()
        );
        CREATE UNIQUE INDEX ix_users_email ON users (email);
        CREATE TABLE import_sessions (
            id {shape.ids} PRIMARY KEY, user_id {shape.ids} NOT NULL REFERENCES users (id), csv_url varchar NOT NULL,
            login_url varchar NOT NULL, billing_url varchar NOT NULL, status varchar DEFAULT 'pending',
            created_at {shape.times} DEFAULT now() {schedules if shape.has_schedules else ""}
        );
        CREATE INDEX ix_import_sessions_user_id ON import_sessions (user_id);
        CREATE TABLE import_results (
            id {shape.ids} PRIMARY KEY,
            session_id {shape.ids} NOT NULL REFERENCES import_sessions (id) ON DELETE CASCADE,
            email varchar NOT NULL, status varchar NOT NULL, error text, file_url varchar,
            retry_attempts integer DEFAULT 0, final_error text, created_at {shape.times} DEFAULT now(),
            CONSTRAINT one_result UNIQUE (session_id, email)
        );
        CREATE TABLE team_members (
            user_id {shape.ids} REFERENCES users (id) ON DELETE CASCADE, team text NOT NULL,
            PRIMARY KEY (user_id, team)
        );
    """)


def fill_old_tables(connection: Connection, shape: Shape) -> None:
    """3 users, 6 jobs, 40 results, 2 members."""
    for user_id, email, at in USERS:
        insert(connection, "users", id=user_id, email=email, password_hash="$2b$12$" + "x" * 53, created_at=at)
    for number, owner, url, status, at, schedule in JOBS:
        insert(
            connection,
            "import_sessions",
            id=job_id(number),
            user_id=USERS[owner][0],
            csv_url=f"s3://accounts/{number}.csv",
            login_url=url,
            billing_url="https://portal.example/bills",
            status=status,
            created_at=at,
            **(_schedule(*schedule) if shape.has_schedules else {}),
        )
    number = 0
    for job, words in RESULTS.items():
        start = datetime.fromisoformat(JOBS[job - 1][4])
        for place, word in enumerate(words):
            number += 1
            insert(
                connection,
                "import_results",
                id=result_id(number),
                session_id=job_id(job),
                email=f"account{place}@customer.example",
                status=word,
                error="the page did not load" if word == "failed" else None,
                file_url=f"https://files.example/{number}.pdf" if word == "success" else None,
                retry_attempts=place % 3,
                created_at=str(start + timedelta(minutes=1 + place)),
            )
    insert(connection, "team_members", user_id=USERS[0][0], team="finance")
    insert(connection, "team_members", user_id=USERS[1][0], team="finance")


def fill(engine: Engine, shape: Shape | None = None) -> None:
    """Tables and rows, committed."""
    with engine.begin() as connection:
        make_old_tables(connection, shape or Shape())
        fill_old_tables(connection, shape or Shape())


def execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def insert(connection: Connection, table: str, **values: Any) -> None:
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)  # noqa: S608


def _schedule(
    is_scheduled: bool, kind: str | None, config: Any, next_run: str | None, last: str | None
) -> dict[str, Any]:
    return {
        "is_scheduled": is_scheduled,
        "schedule_type": kind,
        "schedule_config": None if config is None else json.dumps(config),
        "next_run": next_run,
        "last_scheduled_run": last,
    }
