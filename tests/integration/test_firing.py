"""Firing: every due occurrence becomes exactly one accounted-for row, and every schedule moves on."""

import logging
import select
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from sqlalchemy import Engine, event, func, text
from sqlalchemy import select as sql_select

from db.engine import transaction
from db.firing import BATCH_SIZE, FirePass, fire_due_jobs, get_earliest_next_run
from db.models import AuditEntry, CatchUp, Job, JobStatus, Overlap, Run, RunStatus, RunTrigger
from db.planning import MAX_SINGLE_ROWS, find_due
from db.schedules import Schedule
from recurrence import Rule, next_occurrence, occurrences, parse_rule
from tests.factories import DAILY, EVERY_MINUTE, NOW, make_job, make_portal, make_run, make_viewer

MINUTE = timedelta(minutes=1)
WAIT_SECONDS = 20


def add_job(engine: Engine, schedule: Schedule = EVERY_MINUTE, **columns: object) -> str:
    with transaction(engine) as session:
        viewer = make_viewer(session, f"user{datetime.now(UTC).timestamp()}")
        return make_job(session, viewer, schedule=schedule, **columns).id


def fire(engine: Engine, now: datetime = NOW, **options: int) -> FirePass:
    with transaction(engine) as session:
        return fire_due_jobs(session, now, **options)


def fire_all(engine: Engine, now: datetime) -> int:
    passes = 0
    while fire(engine, now).due:
        passes += 1
        assert passes < 100
    return passes


def get_job(engine: Engine, job_id: str) -> Job:
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


def list_runs(engine: Engine, job_id: str) -> Sequence[Run]:
    with transaction(engine) as session:
        return session.scalars(sql_select(Run).where(Run.session_id == job_id).order_by(Run.id)).all()


def statuses(runs: Sequence[Run]) -> list[str]:
    return [r.status for r in runs]


def expected_occurrences(job: Job, first: datetime, now: datetime) -> int:
    assert job.schedule_type is not None
    assert job.schedule_config is not None
    rule = parse_rule(job.schedule_type, job.schedule_config, job.time_zone)
    return 1 + sum(1 for _ in occurrences(rule, first, until=now))


def test_due_job_gets_a_queued_run_and_moves_on(engine: Engine) -> None:
    job_id = add_job(engine)
    assert fire(engine, NOW + timedelta(seconds=3)) == FirePass(due=1, queued=1)
    (run,) = list_runs(engine, job_id)
    assert (run.trigger, run.scheduled_for, run.status) == (RunTrigger.SCHEDULE, NOW, RunStatus.QUEUED)
    assert (run.run_after, run.occurrences, run.attempt, run.finished_at) == (NOW + timedelta(seconds=3), 1, 1, None)
    job = get_job(engine, job_id)
    assert (job.next_run, job.last_scheduled_run, job.status) == (NOW + MINUTE, NOW, JobStatus.QUEUED)
    assert job.version == 1


def test_firing_again_at_the_same_instant_does_nothing(engine: Engine) -> None:
    job_id = add_job(engine)
    fire(engine)
    assert fire(engine) == FirePass(due=0, queued=0)
    assert len(list_runs(engine, job_id)) == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"next_run": NOW + timedelta(microseconds=1)},
        {"next_run": None},
        {"paused_at": NOW},
        {"is_scheduled": False},
    ],
    ids=["not yet due", "never again", "paused", "unscheduled"],
)
def test_job_that_is_not_due_is_left_alone(engine: Engine, columns: dict[str, object]) -> None:
    job_id = add_job(engine, **columns)
    before = get_job(engine, job_id).next_run
    assert fire(engine) == FirePass(due=0, queued=0)
    assert list_runs(engine, job_id) == []
    assert get_job(engine, job_id).next_run == before


def test_next_run_follows_the_zone_of_the_job(engine: Engine) -> None:
    schedule = Schedule("daily", {"hour": 2, "minute": 30}, "Europe/Berlin")
    job_id = add_job(engine, schedule, next_run=datetime(2025, 3, 29, 1, 30, tzinfo=UTC))
    fire(engine, datetime(2025, 3, 29, 1, 30, tzinfo=UTC))
    # 02:30 does not exist on the 30th: it runs once, right after the gap.
    assert get_job(engine, job_id).next_run == datetime(2025, 3, 30, 1, 0, tzinfo=UTC)


def test_rule_that_never_fires_again_leaves_no_next_run(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = add_job(engine, DAILY)
    monkeypatch.setattr("db.planning.next_occurrence", lambda rule, after: None)
    find_due.cache_clear()
    fire(engine)
    job = get_job(engine, job_id)
    assert (job.next_run, job.is_scheduled, job.paused_at) == (None, True, None)
    assert statuses(list_runs(engine, job_id)) == [RunStatus.QUEUED]


def test_earliest_next_run_ignores_what_does_not_fire(engine: Engine) -> None:
    with transaction(engine) as session:
        assert get_earliest_next_run(session) is None
    add_job(engine, paused_at=NOW)
    add_job(engine, is_scheduled=False)
    add_job(engine, next_run=NOW + timedelta(hours=2))
    add_job(engine, next_run=NOW + timedelta(hours=1))
    with transaction(engine) as session:
        assert get_earliest_next_run(session) == NOW + timedelta(hours=1)


# Catching up


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        (CatchUp.LATEST, [RunStatus.MISSED] * 5 + [RunStatus.QUEUED]),
        (CatchUp.ALL, [RunStatus.QUEUED] * 6),
        (CatchUp.NONE, [RunStatus.MISSED] * 6),
    ],
)
def test_catch_up_after_an_outage(engine: Engine, catch_up: CatchUp, expected: list[RunStatus]) -> None:
    job_id = add_job(engine, catch_up=catch_up)
    now = NOW + timedelta(minutes=5, seconds=50)
    fire(engine, now)
    runs = list_runs(engine, job_id)
    if catch_up == CatchUp.NONE:  # the newest is on time: less than a minute old
        expected = [*expected[:-1], RunStatus.QUEUED]
    assert statuses(runs) == expected
    assert [r.scheduled_for for r in runs] == [NOW + n * MINUTE for n in range(6)]
    assert all((r.reason is not None) == (r.status == RunStatus.MISSED) for r in runs)
    job = get_job(engine, job_id)
    assert (job.next_run, job.last_scheduled_run) == (NOW + 6 * MINUTE, NOW + 5 * MINUTE)


def test_catch_up_none_misses_everything_that_is_late(engine: Engine) -> None:
    job_id = add_job(engine, DAILY, catch_up=CatchUp.NONE)
    fire(engine, NOW + timedelta(seconds=61))
    assert statuses(list_runs(engine, job_id)) == [RunStatus.MISSED]
    assert get_job(engine, job_id).status == JobStatus.IDLE


def test_catch_up_all_runs_the_newest_hundred(engine: Engine) -> None:
    job_id = add_job(engine, catch_up=CatchUp.ALL)
    now = NOW + 249 * MINUTE  # 250 occurrences
    fire_all(engine, now)
    runs = list_runs(engine, job_id)
    queued = [r for r in runs if r.status == RunStatus.QUEUED]
    assert [r.scheduled_for for r in queued] == [NOW + n * MINUTE for n in range(150, 250)]
    (older,) = [r for r in runs if r.status == RunStatus.MISSED]
    assert (older.occurrences, older.scheduled_for, older.scheduled_until) == (150, NOW, NOW + 149 * MINUTE)
    assert sum(r.occurrences for r in runs) == expected_occurrences(get_job(engine, job_id), NOW, now)


@pytest.mark.parametrize("catch_up", list(CatchUp))
@pytest.mark.parametrize("count", [100, 101, 102, 999, 1000, 1001, 1099, 1100, 2500, 4321])
def test_every_occurrence_of_a_long_outage_is_accounted_for(engine: Engine, catch_up: CatchUp, count: int) -> None:
    job_id = add_job(engine, catch_up=catch_up)
    now = NOW + (count - 1) * MINUTE + timedelta(seconds=59)
    assert fire_all(engine, now) == 1
    runs = list_runs(engine, job_id)
    job = get_job(engine, job_id)
    assert len(runs) == min(count, MAX_SINGLE_ROWS + 1)
    assert sum(r.occurrences for r in runs) == expected_occurrences(job, NOW, now) == count
    assert len({r.scheduled_for for r in runs}) == len(runs)
    assert (job.next_run, job.last_scheduled_run) == (NOW + count * MINUTE, NOW + (count - 1) * MINUTE)
    assert statuses(runs).count(RunStatus.QUEUED) == (100 if catch_up == CatchUp.ALL else 1)


def test_outage_of_two_years_of_a_minutely_schedule_is_one_row_and_a_hundred(engine: Engine) -> None:
    job_id = add_job(engine)
    count = 2 * 365 * 24 * 60
    assert fire(engine, NOW + (count - 1) * MINUTE) == FirePass(due=1, queued=1)
    older, *newest = list_runs(engine, job_id)
    assert (older.occurrences, older.scheduled_until) == (count - 100, NOW + (count - 101) * MINUTE)
    assert [r.scheduled_for for r in newest] == [NOW + n * MINUTE for n in range(count - 100, count)]


# Overlap and the breaker


@pytest.mark.parametrize("live", [RunStatus.QUEUED, RunStatus.RUNNING])
@pytest.mark.parametrize(
    ("overlap", "expected"), [(Overlap.SKIP, RunStatus.SKIPPED), (Overlap.QUEUE, RunStatus.QUEUED)]
)
def test_overlap(engine: Engine, live: RunStatus, overlap: Overlap, expected: RunStatus) -> None:
    job_id = add_job(engine, overlap=overlap)
    with transaction(engine) as session:
        make_run(session, session.get_one(Job, job_id), status=live)
    fire(engine)
    run = list_runs(engine, job_id)[-1]
    assert run.status == expected
    assert (run.reason or "") == (f"the previous run was still {live.value}" if expected == RunStatus.SKIPPED else "")
    job = get_job(engine, job_id)
    assert job.status == JobStatus(live.value)
    assert job.next_run == NOW + MINUTE


def test_open_breaker_skips_the_occurrence(engine: Engine) -> None:
    with transaction(engine) as session:
        portal = make_portal(session, breaker_open_until=NOW + timedelta(minutes=30))
    job_id = add_job(engine, portal_id=portal.id)
    assert fire(engine) == FirePass(due=1, queued=0)
    (run,) = list_runs(engine, job_id)
    assert run.status == RunStatus.SKIPPED
    assert run.reason == "the portal is left alone until 10 Mar 12:30 UTC after refused sign-ins"
    assert get_job(engine, job_id).status == JobStatus.IDLE


def test_breaker_that_has_closed_again_skips_nothing(engine: Engine) -> None:
    with transaction(engine) as session:
        portal = make_portal(session, breaker_open_until=NOW)
    job_id = add_job(engine, portal_id=portal.id)
    fire(engine)
    assert statuses(list_runs(engine, job_id)) == [RunStatus.QUEUED]


# What must not go wrong


@pytest.mark.parametrize(
    "columns",
    [
        {"time_zone": "Mars/Olympus"},
        {"schedule_config": {}},
        {"schedule_config": {"cron_expression": "61 * * * *"}},
        {"schedule_config": {"cron_expression": "0 0 31 2 *"}},
    ],
    ids=["zone", "empty", "syntax", "never"],
)
def test_schedule_that_cannot_be_read_pauses_only_its_job(
    engine: Engine, columns: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = add_job(engine, **columns), add_job(engine)
    with caplog.at_level(logging.ERROR):
        assert fire(engine) == FirePass(due=2, queued=1)
    job = get_job(engine, broken)
    assert job.paused_at == NOW
    (run,) = list_runs(engine, broken)
    assert run.status == RunStatus.SKIPPED
    assert run.reason is not None
    assert run.reason.startswith("the schedule was paused because it cannot be read: ")
    with transaction(engine) as session:
        assert session.scalar(sql_select(AuditEntry.subject)) == f"job {broken}"
    assert broken in caplog.text
    assert statuses(list_runs(engine, sound)) == [RunStatus.QUEUED]
    assert fire(engine) == FirePass(due=0, queued=0)


def test_occurrence_fires_once_even_when_next_run_is_set_back(engine: Engine) -> None:
    job_id = add_job(engine)
    fire(engine)
    with transaction(engine) as session:
        run = session.scalars(sql_select(Run)).one()
        run.status, run.finished_at = RunStatus.COMPLETED, NOW
        job = session.get_one(Job, job_id)
        job.status, job.next_run = JobStatus.COMPLETED, NOW
    assert fire(engine, NOW + timedelta(seconds=1)) == FirePass(due=1, queued=0)
    assert statuses(list_runs(engine, job_id)) == [RunStatus.COMPLETED]
    job = get_job(engine, job_id)
    # Nothing is queued, so nothing may look queued: a job that does refuses to be run.
    assert (job.status, job.next_run) == (JobStatus.COMPLETED, NOW + MINUTE)


def test_last_scheduled_run_never_goes_back(engine: Engine) -> None:
    job_id = add_job(engine, last_scheduled_run=NOW + timedelta(days=1))
    fire(engine)
    assert get_job(engine, job_id).last_scheduled_run == NOW + timedelta(days=1)


# Batches


def add_many(engine: Engine, count: int) -> None:
    job_id = add_job(engine)
    with engine.begin() as connection:
        columns = "user_id, name, login_url, billing_url, is_scheduled, schedule_type, schedule_config, next_run"
        connection.execute(
            text(
                f"INSERT INTO import_sessions ({columns}) SELECT {columns} FROM import_sessions, "  # noqa: S608
                "generate_series(2, :count) WHERE id = :id"
            ),
            {"count": count, "id": job_id},
        )


def test_more_than_a_batch_is_fired_batch_by_batch(engine: Engine) -> None:
    add_many(engine, 1203)
    assert [fire(engine).due for _ in range(4)] == [500, 500, 203, 0]
    with transaction(engine) as session:
        runs = session.execute(sql_select(func.count(), func.count(Run.session_id.distinct())).select_from(Run)).one()
        assert runs == (1203, 1203)
        assert session.scalar(sql_select(func.count()).where(Job.next_run == NOW + MINUTE)) == 1203


@pytest.fixture
def sent(engine: Engine) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("count", [1, 7, BATCH_SIZE])
def test_batch_takes_four_statements_whatever_its_size(engine: Engine, sent: list[str], count: int) -> None:
    add_many(engine, count)
    sent.clear()
    assert fire(engine).due == count
    assert len(sent) == 4


def test_rule_and_instant_that_jobs_share_are_computed_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_many(engine, BATCH_SIZE)
    asked: list[datetime] = []

    def note(rule: Rule, after: datetime) -> datetime | None:
        asked.append(after)
        return next_occurrence(rule, after)

    monkeypatch.setattr("db.planning.next_occurrence", note)
    find_due.cache_clear()
    assert fire(engine).due == BATCH_SIZE
    assert asked == [NOW]


def test_pass_without_due_jobs_takes_one_statement(engine: Engine, sent: list[str]) -> None:
    fire(engine)
    assert len(sent) == 1


# Wake-ups and other schedulers


def test_firing_notifies_once_a_batch(engine: Engine, database_url: str) -> None:
    add_many(engine, 3)
    listener = psycopg2.connect(database_url)
    listener.autocommit = True
    listener.cursor().execute("LISTEN punctual")
    fire(engine)
    assert select.select([listener], [], [], WAIT_SECONDS)[0]
    listener.poll()
    assert [n.payload for n in listener.notifies] == ["claim"]
    listener.close()


def test_pass_that_queues_nothing_notifies_nobody(engine: Engine, sent: list[str]) -> None:
    add_job(engine, DAILY, catch_up=CatchUp.NONE)
    sent.clear()
    fire(engine, NOW + timedelta(hours=1))
    assert not [s for s in sent if "pg_notify" in s]


def test_jobs_that_another_scheduler_holds_are_left_to_it(engine: Engine) -> None:
    add_many(engine, 10)
    with transaction(engine) as first:
        assert fire_due_jobs(first, NOW, limit=4).due == 4
        with transaction(engine) as second:
            assert fire_due_jobs(second, NOW).due == 6
    with transaction(engine) as session:
        assert session.scalar(sql_select(func.count(Run.session_id.distinct()))) == 10
        assert session.scalar(sql_select(func.count()).select_from(Run)) == 10


def test_job_advanced_while_the_pass_looked_is_not_fired_again(engine: Engine) -> None:
    """The second pass starts on a snapshot in which the job is due, and gets the lock after it was advanced."""
    add_job(engine)
    for _ in range(20):
        barrier = threading.Barrier(4)
        due: list[int] = []

        def race(barrier: threading.Barrier = barrier, due: list[int] = due) -> None:
            barrier.wait(WAIT_SECONDS)
            due.append(fire(engine).due)

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
        assert sum(due) == 1, due
        with transaction(engine) as session:
            session.execute(text("UPDATE import_sessions SET next_run = :now, status = 'idle'"), {"now": NOW})
            session.execute(text("DELETE FROM import_runs"))


def test_two_schedulers_fire_each_occurrence_once(engine: Engine) -> None:
    add_many(engine, 400)
    barrier = threading.Barrier(2)

    def work() -> None:
        barrier.wait(WAIT_SECONDS)
        for minute in range(5):
            while fire(engine, NOW + minute * MINUTE, limit=37).due:
                pass

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS * 3)
    fire_all(engine, NOW + 4 * MINUTE)
    with transaction(engine) as session:
        per_job = session.execute(sql_select(func.count(), func.sum(Run.occurrences)).group_by(Run.session_id)).all()
        assert len(per_job) == 400
        assert {tuple(row) for row in per_job} == {(5, 5)}
        assert session.scalar(sql_select(func.count()).where(Job.next_run == NOW + 5 * MINUTE)) == 400
