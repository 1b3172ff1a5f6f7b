"""Daily figures: each ended run is counted once, the figures equal a recount, and they outlive the rows."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, text
from sqlalchemy.orm import Session

from db.daily_figures import COUNTER_LOCK, OUTCOMES, DayFigures, count_ended_runs, list_days, list_job_days
from db.engine import transaction
from db.errors import NotFoundError
from db.jobs import delete_job
from db.models import (
    FINAL_RUN_STATUSES,
    LIVE_RUN_STATUSES,
    Job,
    JobDay,
    OwnerDay,
    Result,
    ResultStatus,
    Role,
    Run,
    RunStatus,
    RunTrigger,
)
from db.retention import purge_runs
from db.viewers import Viewer
from tests.factories import NOW, make_job, make_run, make_viewer

TODAY = NOW.date()
NEVER_STARTED = (RunStatus.MISSED, RunStatus.SKIPPED)


def count_all(engine: Engine, *, limit: int = 1000) -> int:
    total = 0
    while True:
        with transaction(engine) as session:
            counted = count_ended_runs(session, limit=limit)
        total += counted
        if counted < limit:
            return total


def recount(runs: Sequence[Run], bills_new: dict[int, int]) -> dict[date, DayFigures]:
    """The figures by day as the rows have them, added up one by one."""
    days: dict[date, Counter[str]] = {}
    latest: dict[date, float] = {}
    for run in runs:
        day = (run.started_at or run.scheduled_for or run.queued_at).astimezone(UTC).date()
        figures = days.setdefault(day, Counter())
        figures[run.status] += run.occurrences
        figures["accounts_succeeded"] += run.accounts_succeeded
        figures["accounts_failed"] += run.accounts_done - run.accounts_succeeded
        figures["bills_new"] += bills_new.get(run.id, 0)
        if run.started_at is not None and run.finished_at is not None:
            figures["milliseconds"] += round((run.finished_at - run.started_at) / timedelta(milliseconds=1))
        if run.lateness_seconds is not None:
            figures["started"] += 1
            figures["late milliseconds"] += round(run.lateness_seconds * 1000)
            latest[day] = max(latest.get(day, 0.0), round(run.lateness_seconds, 3))
    return {
        day: DayFigures(
            day,
            **{outcome: figures[outcome] for outcome in OUTCOMES},
            accounts_succeeded=figures["accounts_succeeded"],
            accounts_failed=figures["accounts_failed"],
            bills_new=figures["bills_new"],
            run_seconds=figures["milliseconds"] / 1000,
            started=figures["started"],
            lateness_seconds=figures["late milliseconds"] / 1000,
            lateness_max_seconds=latest.get(day, 0.0),
        )
        for day, figures in days.items()
    }


def make_random_run(session: Session, job: Job, chance: random.Random) -> Run:
    """A run of the last five days, in any status, with results that brought bills."""
    status = chance.choice(list(RunStatus) if job.status == "idle" else FINAL_RUN_STATUSES)
    due = NOW - timedelta(seconds=chance.randrange(5 * 86400))
    columns: dict[str, Any] = {}
    if status in NEVER_STARTED:
        columns["occurrences"] = chance.choice((1, 1, 7))
    elif chance.random() < 0.9:
        late = chance.choice((None, chance.random() * 90))
        columns["started_at"] = due + timedelta(milliseconds=chance.randrange(200_000))
        columns["lateness_seconds"] = late
        columns["accounts_done"] = done = chance.randrange(4)
        columns["accounts_succeeded"] = chance.randint(0, done)
    if status in FINAL_RUN_STATUSES:
        columns["finished_at"] = columns.get("started_at", due) + timedelta(milliseconds=chance.randrange(9_000_000))
    run = make_run(session, job, trigger=RunTrigger.SCHEDULE, status=status, at=due, **columns)
    for number in range(columns.get("accounts_done", 0)):
        session.add(
            Result(
                run_id=run.id,
                session_id=job.id,
                username=f"account{number}",
                status=ResultStatus.SUCCESS,
                bills_new=chance.randrange(3),
            )
        )
    session.flush()
    return run


def read_rows(session: Session, *of: Any) -> tuple[Sequence[Run], dict[int, int]]:
    runs = session.scalars(select(Run).where(Run.finished_at.is_not(None), *of)).all()
    sums = select(Result.run_id, func.sum(Result.bills_new)).group_by(Result.run_id)
    return runs, dict(session.execute(sums).all())


def seen(days: Sequence[DayFigures]) -> dict[date, DayFigures]:
    return {figures.day: figures for figures in days if any(v for k, v in asdict(figures).items() if k != "day")}


@pytest.mark.parametrize("seed", range(3))
def test_figures_of_a_random_history_equal_a_recount(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    with transaction(engine) as session:
        viewers = [make_viewer(session, name) for name in ("olive", "otto")]
        admin = make_viewer(session, "ada", Role.ADMIN)
        jobs = [(viewer, make_job(session, viewer).id) for viewer in viewers for _ in range(3)]
    for _ in range(4):  # some runs, some counting, again and again
        with transaction(engine) as session:
            for _, job_id in jobs:
                for _ in range(chance.randrange(12)):
                    make_random_run(session, session.get_one(Job, job_id), chance)
        with transaction(engine) as session:
            count_ended_runs(session, limit=chance.choice((1, 5, 1000)))
    count_all(engine, limit=7)

    with transaction(engine) as session:
        for viewer, job_id in jobs:
            days = list_job_days(session, viewer, job_id, until=TODAY, days=30)
            assert seen(days) == recount(*read_rows(session, Run.session_id == job_id))
        for viewer in viewers:
            mine = select(Job.id).where(Job.user_id == viewer.user_id)
            days = list_days(session, viewer, until=TODAY, days=30)
            assert seen(days) == recount(*read_rows(session, Run.session_id.in_(mine)))
            assert {type(v) for d in days for k, v in asdict(d).items() if not k.endswith("_seconds")} == {int, date}
        everything = recount(*read_rows(session))
        assert seen(list_days(session, admin, until=TODAY, days=30)) == everything
        assert sum(d.runs for d in everything.values()) > 20
        live = select(func.count()).where(Run.status.in_(LIVE_RUN_STATUSES), Run.is_counted)
        assert session.scalar(live) == 0


def test_a_run_is_counted_once_and_only_when_it_has_ended(engine: Engine) -> None:
    with transaction(engine) as session:
        olive = make_viewer(session)
        job = make_job(session, olive)
        run = make_run(session, job, status=RunStatus.RUNNING)
    assert count_all(engine) == 0
    with transaction(engine) as session:
        row = session.get_one(Run, run.id)
        row.status, row.finished_at, row.lease_token, row.lease_until = RunStatus.PARTIAL, NOW, None, None
    assert [count_all(engine), count_all(engine)] == [1, 0]
    with transaction(engine) as session:
        assert list_job_days(session, olive, job.id, until=TODAY, days=1) == [DayFigures(TODAY, partial=1)]


def test_an_aborted_count_leaves_neither_figures_nor_marks(engine: Engine) -> None:
    with transaction(engine) as session:
        make_run(session, make_job(session, make_viewer(session)), status=RunStatus.COMPLETED)
    with Session(engine) as session:
        assert count_ended_runs(session) == 1
        session.rollback()
    assert count_all(engine) == 1
    with transaction(engine) as session:
        assert session.scalars(select(JobDay.completed)).all() == [1]
        assert session.scalars(select(OwnerDay.completed)).all() == [1]


def test_two_counters_do_not_work_at_once(engine: Engine) -> None:
    with transaction(engine) as session:
        make_run(session, make_job(session, make_viewer(session)), status=RunStatus.COMPLETED)
    with engine.connect() as other, other.begin():
        other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": COUNTER_LOCK})
        with transaction(engine) as session:
            assert count_ended_runs(session) == 0
    assert count_all(engine) == 1


def test_a_job_that_is_being_deleted_is_left_to_its_deletion(engine: Engine) -> None:
    with transaction(engine) as session:
        olive = make_viewer(session)
        going, staying = make_job(session, olive), make_job(session, olive)
        make_run(session, going, status=RunStatus.COMPLETED)
        make_run(session, staying, status=RunStatus.FAILED)
    with Session(engine) as deletion, deletion.begin():
        delete_job(deletion, olive, going.id)
        assert count_all(engine) == 1  # without waiting for the deletion
    with transaction(engine) as session:
        assert session.scalars(select(JobDay.session_id)).all() == [staying.id]


def test_a_job_whose_deletion_has_just_begun_is_left_to_it(engine: Engine) -> None:
    with transaction(engine) as session:
        olive = make_viewer(session)
        going = make_job(session, olive)
        make_run(session, going, status=RunStatus.COMPLETED)
    with Session(engine) as deletion, deletion.begin():
        deletion.execute(select(Job).where(Job.id == going.id).with_for_update())  # and has not come to the runs
        with transaction(engine) as session:
            session.execute(text("SET LOCAL lock_timeout = '1ms'"))  # whoever waits at all fails
            assert count_ended_runs(session) == 0
    assert count_all(engine) == 1


def test_totals_keep_what_deleted_jobs_did(engine: Engine) -> None:
    with transaction(engine) as session:
        olive = make_viewer(session)
        job = make_job(session, olive)
        make_run(session, job, status=RunStatus.COMPLETED)
    count_all(engine)
    with transaction(engine) as session:
        delete_job(session, olive, job.id)
    with transaction(engine) as session:
        assert session.scalar(select(func.count()).select_from(JobDay)) == 0
        assert list_days(session, olive, until=TODAY, days=1) == [DayFigures(TODAY, completed=1)]


def test_figures_outlive_the_purge(engine: Engine) -> None:
    with transaction(engine) as session:
        olive = make_viewer(session)
        job = make_job(session, olive)
        make_run(session, job, status=RunStatus.COMPLETED)
        with_purged = make_run(session, job, status=RunStatus.MISSED, occurrences=3)
    with transaction(engine) as session:  # what is not counted yet is not purged
        assert purge_runs(session, before=NOW + timedelta(days=1)).removed == 0
    count_all(engine)
    with transaction(engine) as session:
        assert purge_runs(session, before=NOW + timedelta(days=1)).removed == 2
        assert session.get(Run, with_purged.id) is None
        days = list_job_days(session, olive, job.id, until=TODAY, days=1)
        assert days == [DayFigures(TODAY, completed=1, missed=3)]


def test_days_without_runs_are_listed_and_others_jobs_are_not(engine: Engine) -> None:
    with transaction(engine) as session:
        olive, otto = make_viewer(session), make_viewer(session, "otto")
        job = make_job(session, olive)
        make_run(session, job, status=RunStatus.COMPLETED, at=NOW - timedelta(days=2))
    count_all(engine)
    with transaction(engine) as session:
        days = list_job_days(session, olive, job.id, until=TODAY, days=4)
        assert [(d.day, d.runs) for d in days] == [(TODAY - timedelta(days=n), int(n == 2)) for n in (3, 2, 1, 0)]
        assert seen(list_days(session, otto, until=TODAY, days=4)) == {}
        with pytest.raises(NotFoundError):
            list_job_days(session, otto, job.id, until=TODAY, days=4)


def test_a_day_is_utcs_and_that_of_the_start(engine: Engine) -> None:
    with transaction(engine) as session:
        olive = make_viewer(session)
        job = make_job(session, olive)
        due, started = datetime(2025, 3, 9, 23, 59, tzinfo=UTC), datetime(2025, 3, 10, 0, 1, tzinfo=UTC)
        make_run(session, job, trigger=RunTrigger.SCHEDULE, status=RunStatus.LOST, at=due, started_at=started,
                 finished_at=started)  # fmt: skip
        make_run(session, make_job(session, olive), trigger=RunTrigger.SCHEDULE, status=RunStatus.MISSED, at=due,
                 finished_at=started)  # fmt: skip
    count_all(engine)
    with transaction(engine) as session:
        days = seen(list_days(session, olive, until=TODAY, days=4))
        assert {day: (f.lost, f.missed) for day, f in days.items()} == {due.date(): (0, 1), started.date(): (1, 0)}


def test_a_deleted_user_takes_the_figures_along(engine: Engine) -> None:
    with transaction(engine) as session:
        olive: Viewer = make_viewer(session)
        make_run(session, make_job(session, olive), status=RunStatus.COMPLETED)
    count_all(engine)
    with transaction(engine) as session:
        session.execute(text("DELETE FROM users WHERE id = :id"), {"id": olive.user_id})
        assert session.scalar(select(func.count()).select_from(OwnerDay)) == 0
        assert session.execute(delete(Run)).rowcount == 0
