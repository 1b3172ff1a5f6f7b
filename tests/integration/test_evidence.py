"""Evidence: every line is 0 on a sound database, and tells what is wrong when a protection is gone."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import db.doubles
import db.ledger_gaps
from db.engine import transaction
from db.evidence import Evidence, Line, gather_evidence
from db.firing import fire_due_jobs
from db.instances import record_fire_pass, record_stopped, register_instance
from db.models import (
    Account,
    Cause,
    History,
    Job,
    Result,
    ResultStatus,
    RetentionMark,
    Role,
    Run,
    RunAttempt,
    RunStatus,
    RunTrigger,
)
from db.viewers import Viewer
from tests.factories import HOURLY, NOW, day_off, make_calendar, make_job, make_run, make_viewer

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
LATER = NOW + 6 * HOUR
FIRST = "00000000"


@pytest.fixture
def ada(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session, "ada", Role.ADMIN)


@pytest.fixture
def olive(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session, "olive")


@pytest.fixture
def mallory(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session, "mallory")


def ask(engine: Engine, viewer: Viewer, *, sample_from: str = FIRST) -> Evidence:
    with transaction(engine) as session:
        return gather_evidence(session, viewer, LATER, sample_from=sample_from)


def line_of(engine: Engine, viewer: Viewer, key: str) -> Line:
    return next(line for line in ask(engine, viewer).lines if line.key == key)


def change(engine: Engine, statement: str, **values: Any) -> None:
    """Do to the database what no code of ours does."""
    with transaction(engine) as session:
        session.execute(text(statement), values)


def lose(engine: Engine, job: Job, at: datetime, until: datetime | None = None) -> None:
    """Delete the job's rows from that instant to the other, both included."""
    change(
        engine,
        "DELETE FROM import_runs WHERE session_id = :job AND scheduled_for BETWEEN :at AND :until",
        job=job.id,
        at=at,
        until=until or at,
    )


def fire_until_now(engine: Engine) -> None:
    with transaction(engine) as session:
        fire_due_jobs(session, LATER)


def make_hourly_job(engine: Engine, viewer: Viewer, **columns: Any) -> Job:
    with transaction(engine) as session:
        return make_job(session, viewer, schedule=HOURLY, **columns)


def start_scheduler(session: Session, *, fired_before: timedelta) -> str:
    instance = register_instance(session, host="north", pid=1, version="1", slots=1, now=LATER)
    record_fire_pass(session, instance, LATER - fired_before)
    session.execute(text("UPDATE scheduler_instances SET last_seen_at = :now"), {"now": LATER})
    return instance


def finish_attempt(session: Session, run: Run, outcome: str, worker: str = "w") -> None:
    session.add(
        RunAttempt(
            run_id=run.id,
            attempt=1,
            worker=worker,
            lease_token=uuid4(),
            started_at=NOW,
            ended_at=NOW,
            outcome=outcome,
        )
    )
    session.flush()


def add_result(session: Session, run: Run, account_id: int) -> None:
    session.add(
        Result(
            run_id=run.id,
            session_id=run.session_id,
            account_id=account_id,
            username="ada@example.com",
            status=ResultStatus.SUCCESS,
        )
    )
    session.flush()


def first_account(session: Session, job: Job) -> int:
    return session.scalars(select(func.min(Account.id)).where(Account.session_id == job.id)).one()


# A sound database


def test_everything_is_fine_where_nothing_is_wrong(engine: Engine, ada: Viewer, olive: Viewer) -> None:
    job = make_hourly_job(engine, olive)
    with transaction(engine) as session:
        start_scheduler(session, fired_before=SECOND)
        run = make_run(session, session.get_one(Job, job.id), status=RunStatus.COMPLETED)
        finish_attempt(session, run, "queued")
        finish_attempt(session, run, "completed")
        add_result(session, run, first_account(session, job))
    fire_until_now(engine)
    evidence = ask(engine, ada)
    assert evidence.is_fine
    assert [(line.key, line.count, dict(line.checked)) for line in evidence.lines] == [
        ("fired_twice", 0, {"runs": 8}),
        ("finished_twice", 0, {"attempts": 2}),
        ("results_twice", 0, {"results": 1}),
        ("overlapping", 0, {"running": 0}),
        ("expired_leases", 0, {"running": 0}),
        ("gaps", 0, {"jobs": 1, "jobs_in_force": 1, "occurrences": 7}),
        ("overdue", 0, {"jobs_in_force": 1}),
        ("schedulers_alive", 1, {"firing": 1}),
    ]
    assert not any(line.findings for line in evidence.lines)
    assert [line.guard.name for line in evidence.lines if line.guard is not None and line.guard.holds] == [
        "uq_import_runs_occurrence",
        "uq_run_attempts_finished",
        "uq_import_results_run_id_account_id",
        "uq_import_runs_running",
    ]


def test_evidence_changes_nothing(engine: Engine, ada: Viewer) -> None:
    with transaction(engine) as session:
        gather_evidence(session, ada, NOW, sample_from=FIRST)
        assert session.execute(text("SHOW transaction_read_only")).scalar_one() == "on"
        assert session.execute(text("SHOW transaction_isolation")).scalar_one() == "repeatable read"


# Each line when its protection is gone


def fired_twice(session: Session, job: Job) -> list[int]:
    rows = [
        make_run(session, job, trigger=RunTrigger.SCHEDULE, status=RunStatus.COMPLETED, started_at=NOW)
        for _ in range(2)
    ]
    return [run.id for run in rows]


def finished_twice(session: Session, job: Job) -> list[int]:
    run = make_run(session, job, status=RunStatus.COMPLETED)
    for worker in ("a", "b"):
        finish_attempt(session, run, "completed", worker)
    return [run.id]


def results_twice(session: Session, job: Job) -> list[int]:
    run = make_run(session, job, status=RunStatus.COMPLETED)
    for _ in range(2):
        add_result(session, run, first_account(session, job))
    return [run.id]


def overlapping(session: Session, job: Job) -> list[int]:
    lease = {"lease_until": LATER + HOUR}
    return [make_run(session, job, status=RunStatus.RUNNING, **lease).id for _ in range(2)]


DOUBLES = {
    "fired_twice": (fired_twice, "DROP INDEX uq_import_runs_occurrence"),
    "finished_twice": (finished_twice, "DROP INDEX uq_run_attempts_finished"),
    "results_twice": (
        results_twice,
        "ALTER TABLE import_results DROP CONSTRAINT uq_import_results_run_id_account_id",
    ),
    "overlapping": (overlapping, "DROP INDEX uq_import_runs_running"),
}


@pytest.mark.parametrize("key", DOUBLES)
def test_missing_guard_is_named_before_anything_is_double(engine: Engine, ada: Viewer, key: str) -> None:
    change(engine, DOUBLES[key][1])
    line = line_of(engine, ada, key)
    assert line.guard is not None
    assert (line.count, line.is_fine, line.guard.problem) == (0, False, "is missing")


@pytest.mark.parametrize("key", DOUBLES)
def test_double_is_counted_and_shown_when_its_guard_is_gone(
    engine: Engine, ada: Viewer, olive: Viewer, mallory: Viewer, key: str
) -> None:
    make_double, statement = DOUBLES[key]
    change(engine, statement)
    with transaction(engine) as session:
        job = make_job(session, olive, name="Water")
        run_ids = make_double(session, job)
    for viewer in (ada, olive):
        line = line_of(engine, viewer, key)
        assert (line.count, line.is_fine) == (1, False)
        (finding,) = line.findings
        assert (finding.job_id, finding.job_name, list(finding.run_ids)) == (job.id, "Water", run_ids)
    others = line_of(engine, mallory, key)
    assert (others.count, list(others.findings), set(others.checked.values())) == (0, [], {0})


@pytest.mark.parametrize("key", DOUBLES)
def test_guard_refuses_the_double_while_it_is_there(engine: Engine, olive: Viewer, key: str) -> None:
    with pytest.raises(IntegrityError, match="duplicate key value"), transaction(engine) as session:
        DOUBLES[key][0](session, make_job(session, olive))


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ("CREATE INDEX {} ON import_runs (session_id, scheduled_for) WHERE trigger = 'schedule'", "is not unique"),
        ("CREATE UNIQUE INDEX {} ON import_runs (session_id, scheduled_for, id) WHERE trigger = 'schedule'", "other"),
        ("CREATE UNIQUE INDEX {} ON import_runs (session_id, scheduled_for) WHERE trigger = 'retry'", "other"),
        ("CREATE UNIQUE INDEX {} ON users (id)", "other"),
    ],
)
def test_guard_that_guards_something_else_is_no_guard(
    engine: Engine, ada: Viewer, definition: str, problem: str
) -> None:
    name = "uq_import_runs_occurrence"
    change(engine, f"DROP INDEX {name}")
    change(engine, definition.format(name))
    line = line_of(engine, ada, "fired_twice")
    assert not line.is_fine
    assert line.guard is not None
    assert problem in (line.guard.problem or "")
    assert name in (line.guard.definition or "")


def test_guard_that_was_not_built_to_its_end_is_no_guard(engine: Engine, ada: Viewer, olive: Viewer) -> None:
    """As CREATE INDEX CONCURRENTLY leaves it where there are doubles already."""
    change(engine, "DROP INDEX uq_import_runs_occurrence")
    with transaction(engine) as session:
        fired_twice(session, make_job(session, olive))
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(IntegrityError, match="could not create unique index"), autocommit.connect() as connection:
        connection.execute(
            text(
                "CREATE UNIQUE INDEX CONCURRENTLY uq_import_runs_occurrence"
                " ON import_runs (session_id, scheduled_for) WHERE trigger = 'schedule'"
            )
        )
    line = line_of(engine, ada, "fired_twice")
    assert line.guard is not None
    assert line.count == 1
    assert (line.guard.problem or "").startswith("is not valid")


def test_spans_that_overlap_count_occurrences_twice(engine: Engine, ada: Viewer, olive: Viewer) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive)
        ids = [
            make_run(
                session,
                job,
                trigger=RunTrigger.SCHEDULE,
                status=RunStatus.MISSED,
                at=NOW + begin * HOUR,
                scheduled_until=NOW + (begin + 3) * HOUR,
                occurrences=4,
                cause=Cause.OUTAGE,
            ).id
            for begin in (0, 4, 6)
        ]
    line = line_of(engine, ada, "fired_twice")
    assert (line.count, [list(f.run_ids) for f in line.findings]) == (1, [ids[1:]])


def test_lease_that_nobody_recovers_is_counted_after_a_while(
    engine: Engine, ada: Viewer, olive: Viewer, mallory: Viewer
) -> None:
    with transaction(engine) as session:
        for seconds in (14, 16):
            until = LATER - seconds * SECOND
            run = make_run(session, make_job(session, olive), status=RunStatus.RUNNING, lease_until=until)
    line = line_of(engine, ada, "expired_leases")
    assert (line.count, line.is_fine, dict(line.checked)) == (1, False, {"running": 2})
    assert [list(f.run_ids) for f in line.findings] == [[run.id]]
    assert line_of(engine, olive, "expired_leases").count == 1
    others = line_of(engine, mallory, "expired_leases")
    assert (others.count, list(others.findings), dict(others.checked)) == (0, [], {"running": 0})


def test_overdue_schedule_is_counted_with_the_oldest_first(
    engine: Engine, ada: Viewer, olive: Viewer, mallory: Viewer
) -> None:
    jobs = [make_hourly_job(engine, olive, next_run=LATER - minutes * 60 * SECOND) for minutes in (0, 2, 5)]
    line = line_of(engine, ada, "overdue")
    assert (line.count, line.is_fine) == (2, False)
    assert [f.job_id for f in line.findings] == [jobs[2].id, jobs[1].id]
    assert line_of(engine, olive, "overdue").count == 2
    assert line_of(engine, mallory, "overdue").count == 0


@pytest.mark.parametrize(("fired_before", "is_fine"), [(SECOND, True), (HOUR, False)])
def test_scheduler_counts_as_alive_and_is_fine_only_while_it_fires(
    engine: Engine, mallory: Viewer, fired_before: timedelta, is_fine: bool
) -> None:
    with transaction(engine) as session:
        start_scheduler(session, fired_before=fired_before)
    line = line_of(engine, mallory, "schedulers_alive")
    assert (line.count, line.is_fine) == (1, is_fine)


def test_without_a_scheduler_nothing_is_fine(engine: Engine, mallory: Viewer) -> None:
    with transaction(engine) as session:
        record_stopped(session, start_scheduler(session, fired_before=SECOND), LATER)
    line = line_of(engine, mallory, "schedulers_alive")
    assert (line.count, line.is_fine) == (0, False)


# Gaps


def test_occurrence_without_a_row_is_a_gap(engine: Engine, ada: Viewer, olive: Viewer, mallory: Viewer) -> None:
    job = make_hourly_job(engine, olive, name="Water", catch_up="all")
    make_hourly_job(engine, mallory, catch_up="all")
    fire_until_now(engine)
    lose(engine, job, NOW + 2 * HOUR)
    for viewer in (ada, olive):
        line = line_of(engine, viewer, "gaps")
        assert (line.count, line.is_fine) == (1, False)
        assert [(f.job_id, f.at) for f in line.findings] == [(job.id, NOW + 2 * HOUR)]
    others = line_of(engine, mallory, "gaps")
    assert (others.count, dict(others.checked)) == (0, {"jobs": 1, "jobs_in_force": 1, "occurrences": 7})


def test_what_is_still_to_fire_is_no_gap(engine: Engine, ada: Viewer, olive: Viewer) -> None:
    make_hourly_job(engine, olive, next_run=NOW)
    assert line_of(engine, ada, "gaps").count == 0
    assert line_of(engine, ada, "overdue").count == 1


def test_rows_for_many_occurrences_account_for_them(engine: Engine, ada: Viewer, olive: Viewer) -> None:
    """One begins before the window of a day and reaches into it."""
    begins = LATER - 200 * HOUR
    job = make_hourly_job(engine, olive, next_run=begins)
    fire_until_now(engine)
    line = line_of(engine, ada, "gaps")
    assert (line.count, line.checked["occurrences"]) == (0, 25)
    lose(engine, job, LATER - 99 * HOUR, LATER)
    with transaction(engine) as session:
        span = {"scheduled_until": LATER - 3 * HOUR, "occurrences": 98, "cause": Cause.OUTAGE}
        at = LATER - 99 * HOUR
        make_run(session, job, trigger=RunTrigger.SCHEDULE, status=RunStatus.MISSED, at=at, **span)
    assert [f.at for f in line_of(engine, ada, "gaps").findings] == [LATER - 2 * HOUR, LATER - HOUR, LATER]


def test_runs_moved_off_a_day_off_are_expected_where_they_went(engine: Engine, ada: Viewer, olive: Viewer) -> None:
    with transaction(engine) as session:
        calendar = make_calendar(session, olive, day_off("2025-03-10"))
        job = make_job(session, olive, schedule=HOURLY, calendar_ids=[calendar], on_holiday="move")
    moved_to = NOW + 24 * HOUR
    for at in (NOW, moved_to):
        with transaction(engine) as session:
            fire_due_jobs(session, at)
    with transaction(engine) as session:
        evidence = gather_evidence(session, ada, moved_to, sample_from=FIRST)
    assert next(line for line in evidence.lines if line.key == "gaps").count == 0
    lose(engine, job, moved_to)
    with transaction(engine) as session:
        evidence = gather_evidence(session, ada, moved_to, sample_from=FIRST)
    assert [f.at for line in evidence.lines if line.key == "gaps" for f in line.findings] == [moved_to]


def test_sample_starts_anywhere_and_goes_round(
    engine: Engine, ada: Viewer, olive: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db.ledger_gaps, "MAX_JOBS", 2)
    jobs = [make_hourly_job(engine, olive, id=f"job-{n}", catch_up="all") for n in range(3)]
    fire_until_now(engine)
    lose(engine, jobs[0], NOW)
    counts = {job.id: gaps_from(engine, ada, job.id) for job in jobs}
    assert counts == {"job-0": (1, 2, 3), "job-1": (0, 2, 3), "job-2": (1, 2, 3)}


def gaps_from(engine: Engine, viewer: Viewer, sample_from: str) -> tuple[int, int, int]:
    (line,) = [x for x in ask(engine, viewer, sample_from=sample_from).lines if x.key == "gaps"]
    return line.count, line.checked["jobs"], line.checked["jobs_in_force"]


def test_jobs_beyond_the_budget_are_not_called_checked(
    engine: Engine, ada: Viewer, olive: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db.ledger_gaps, "MAX_OCCURRENCES", 15)
    for n in range(3):
        make_hourly_job(engine, olive, id=f"job-{n}")
    fire_until_now(engine)
    line = line_of(engine, ada, "gaps")
    assert dict(line.checked) == {"jobs": 2, "jobs_in_force": 3, "occurrences": 14}


def test_schedule_that_cannot_be_read_is_not_called_checked(engine: Engine, ada: Viewer, olive: Viewer) -> None:
    make_hourly_job(engine, olive)
    change(engine, "UPDATE schedule_periods SET time_zone = 'Nowhere/Land'")
    line = line_of(engine, ada, "gaps")
    assert dict(line.checked) == {"jobs": 0, "jobs_in_force": 1, "occurrences": 0}


def test_what_was_purged_is_not_called_lost(engine: Engine, ada: Viewer, olive: Viewer) -> None:
    job = make_hourly_job(engine, olive, catch_up="all")
    fire_until_now(engine)
    lose(engine, job, NOW, NOW + HOUR)
    assert line_of(engine, ada, "gaps").count == 2
    with transaction(engine) as session:
        session.add(RetentionMark(history=History.RUNS, kept_since=NOW + 2 * HOUR))
    line = line_of(engine, ada, "gaps")
    assert (line.count, line.checked["occurrences"], line.since) == (0, 5, NOW + 2 * HOUR)


# Cost


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that the database is sent, with their values."""
    seen: list[str] = []

    def note(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append(cursor.mogrify(statement, parameters).decode())

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("is_admin", [True, False])
def test_no_query_reads_a_whole_table_of_history(
    engine: Engine,
    ada: Viewer,
    olive: Viewer,
    statements: list[str],
    is_admin: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(db.doubles, "NEWEST_ROWS", 200)
    with transaction(engine) as session:
        fill_history(session, olive)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    statements.clear()
    evidence = ask(engine, ada if is_admin else olive)
    checked = [statement for statement in statements if statement.lstrip().startswith(("SELECT", "WITH"))]
    plans = [explain(engine, statement) for statement in checked]
    scanned = {(kind, table) for plan in plans for kind, table in nodes_of(plan)}
    assert {line.key: line.count for line in evidence.lines if line.key != "schedulers_alive"}["gaps"] > 0
    history = ("import_runs", "import_results", "run_attempts")
    assert [(kind, table) for kind, table in scanned if table in history and kind == "Seq Scan"] == []
    assert {table for _, table in scanned if table in history} == set(history)


def fill_history(session: Session, viewer: Viewer) -> None:
    """20 jobs in force with 500 runs each, and as many results and attempts; the newest day is lost."""
    for n in range(20):
        make_job(session, viewer, schedule=HOURLY, id=f"job-{n:02}", next_run=LATER + HOUR)
    session.execute(text("UPDATE schedule_periods SET starts_at = :at"), {"at": NOW - 10_000 * HOUR})
    session.execute(
        text("""
            INSERT INTO import_runs (session_id, trigger, scheduled_for, status, queued_at, started_at, finished_at)
            SELECT s.id, 'schedule', :now - n * interval '1 hour', 'completed', :now, :now, :now
            FROM generate_series(50, 549) AS n, import_sessions AS s
        """),
        {"now": NOW},
    )
    session.execute(
        text("""
            INSERT INTO import_results (run_id, session_id, account_id, username, status)
            SELECT r.id, r.session_id, a.id, a.username, 'success'
            FROM import_runs AS r JOIN accounts AS a ON a.session_id = r.session_id
        """)
    )
    session.execute(
        text("""
            INSERT INTO run_attempts (run_id, attempt, worker, lease_token, started_at, ended_at, outcome)
            SELECT id, 1, 'w', gen_random_uuid(), queued_at, queued_at, 'completed' FROM import_runs
        """)
    )


def explain(engine: Engine, statement: str) -> dict[str, Any]:
    with engine.connect() as connection:
        answer = connection.exec_driver_sql("EXPLAIN (FORMAT JSON) " + statement.replace("%", "%%")).scalar_one()
    plan = json.loads(answer) if isinstance(answer, str) else answer
    return plan[0]["Plan"]


def nodes_of(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "Relation Name" in plan:
        yield plan["Node Type"], plan["Relation Name"]
    for child in plan.get("Plans", ()):
        yield from nodes_of(child)
