"""The purge: old history goes in small batches, nobody waits for it, and what went is not taken for lost."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.orm import Session

from db import retention
from db.claims import finish_run
from db.daily_figures import count_ended_runs
from db.engine import transaction
from db.jobs import delete_job, get_job
from db.ledger import Account, draw_up_ledger
from db.models import (
    Bill,
    History,
    Job,
    JobDay,
    LogLevel,
    Result,
    ResultStatus,
    Run,
    RunLogLine,
    RunStatus,
    RunTrigger,
    SchedulePeriod,
)
from db.retention import PURGE_LOCK, PurgedBatch, get_kept_since, purge_log, purge_runs
from db.run_log import record_log_line
from db.viewers import Viewer
from scheduler_service.history import HistoryPurge
from scheduler_service.service import SchedulerService
from settings import Settings
from tests.factories import DAILY, NOW, make_job, make_run, make_viewer

CUT = NOW - timedelta(days=30)
OLD, NEW = CUT - timedelta(days=1), CUT + timedelta(days=1)


@pytest.fixture
def olive(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


def add_run(session: Session, job: Job, at: datetime, **columns: Any) -> int:
    columns = {"status": RunStatus.COMPLETED, "is_counted": True} | columns
    return make_run(session, job, at=at, **columns).id


def purge(engine: Engine, *, limit: int = 1000) -> int:
    """Walk once, batch by batch; returns how many runs went."""
    after: int | None = 0
    removed = 0
    while after is not None:
        with transaction(engine) as session:
            batch = purge_runs(session, before=CUT, after_id=after, limit=limit)
        assert batch.last_id is None or batch.last_id > after
        removed, after = removed + batch.removed, batch.last_id
    return removed


def runs_left(engine: Engine) -> Sequence[int]:
    with transaction(engine) as session:
        return session.scalars(select(Run.id).order_by(Run.id)).all()


def test_old_runs_go_with_their_results_and_log_and_bills_stay(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive)
        old, new = add_run(session, job, OLD), add_run(session, job, NEW)
        job.last_run_id = new
        for run_id in (old, new):
            session.add(Result(run_id=run_id, session_id=job.id, username="a", status=ResultStatus.SUCCESS))
            record_log_line(session, run_id, LogLevel.INFO, "done", at=NEW)
        session.add(
            Bill(
                session_id=job.id,
                username="a",
                bill_key="1",
                first_seen_run=old,
                changed_run=old,
                last_seen_run=new,
                documents=[],
            )
        )
    assert purge(engine) == 1
    assert runs_left(engine) == [new]
    with transaction(engine) as session:
        assert session.scalars(select(Result.run_id)).all() == [new]
        assert session.scalars(select(RunLogLine.run_id)).all() == [new]
        bill = session.scalars(select(Bill)).one()
        assert (bill.first_seen_run, bill.changed_run, bill.last_seen_run) == (None, None, new)


def test_live_newest_and_uncounted_runs_stay_whatever_their_age(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        kept: list[int] = []
        for status in (RunStatus.QUEUED, RunStatus.RUNNING):
            kept.append(make_run(session, make_job(session, olive), status=status, at=OLD).id)
        job = make_job(session, olive)
        gone = add_run(session, job, OLD)
        kept.append(add_run(session, job, OLD))
        job.last_run_id = kept[-1]
        kept.append(add_run(session, job, OLD, is_counted=False))
    assert purge(engine) == 1
    assert gone not in runs_left(engine)
    assert runs_left(engine) == kept


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_walk_meets_every_old_run_once_and_stops_at_the_new_ones(engine: Engine, olive: Viewer, limit: int) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive)
        for _ in range(10):
            add_run(session, job, OLD)
        job.last_run_id = add_run(session, job, OLD)
        new = [add_run(session, job, NEW) for _ in range(10)]
        newest = job.last_run_id
    assert purge(engine, limit=limit) == 10
    assert runs_left(engine) == [newest, *new]
    with transaction(engine) as session:
        assert purge_runs(session, before=CUT, after_id=newest, limit=limit) == PurgedBatch(0, None)


def test_a_batch_is_bounded_by_the_results_that_go_with_it(
    engine: Engine, olive: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_RESULTS", 10)
    with transaction(engine) as session:
        job = make_job(session, olive)
        first, second, _, _ = (add_run(session, job, OLD, accounts_done=n) for n in (50, 4, 6, 1))
    with transaction(engine) as session:
        assert purge_runs(session, before=CUT) == PurgedBatch(1, first)
        batch = purge_runs(session, before=CUT, after_id=first)
    assert batch == PurgedBatch(2, second + 1)


def test_purge_waits_for_nobody(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        locked_job, deleted_job, job = (make_job(session, olive) for _ in range(3))
        locked_run = add_run(session, job, OLD)
        for each in (locked_job, deleted_job, job):
            add_run(session, each, OLD)
    with Session(engine) as other, other.begin(), Session(engine) as deletion, deletion.begin():
        delete_job(deletion, olive, deleted_job.id)
        other.execute(select(Run).where(Run.id == locked_run).with_for_update())
        # As fire, claim and finish lock a job: they neither wait for the purge nor it for them.
        other.execute(select(Job).where(Job.id == locked_job.id).with_for_update(key_share=True))
        assert purge(engine) == 2
    assert runs_left(engine) == [locked_run]


def test_a_job_whose_deletion_has_just_begun_is_left_to_it(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive)
        run_id = add_run(session, job, OLD)
    with Session(engine) as deletion, deletion.begin():
        deletion.execute(select(Job).where(Job.id == job.id).with_for_update())  # and has not come to the runs
        assert purge(engine) == 0
        assert runs_left(engine) == [run_id]
    assert purge(engine) == 1


def test_a_run_of_the_same_job_ends_while_a_purge_is_under_way(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive)
        add_run(session, job, OLD)
        live = make_run(session, job, status=RunStatus.RUNNING)
        assert live.lease_token is not None
    with Session(engine) as purging, purging.begin():
        assert purge_runs(purging, before=CUT).removed == 1
        with transaction(engine) as session:
            session.execute(text("SET LOCAL lock_timeout = '1ms'"))  # whoever waits at all fails
            assert finish_run(session, live.id, live.lease_token, RunStatus.COMPLETED, None, NOW)


def test_one_purge_works_at_a_time(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        run_id = add_run(session, make_job(session, olive), OLD)
        record_log_line(session, run_id, LogLevel.INFO, "done", at=OLD)
    with engine.connect() as other, other.begin():
        other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": PURGE_LOCK})
        with transaction(engine) as session:
            assert purge_runs(session, before=CUT) == PurgedBatch(0, None)
            assert purge_log(session, before=CUT) == PurgedBatch(0, None)
    assert purge(engine) == 1


def test_old_log_lines_go_except_those_of_live_runs(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        ended = add_run(session, make_job(session, olive), OLD)
        live = make_run(session, make_job(session, olive), status=RunStatus.RUNNING, at=OLD).id
        for at, run_id in itertools.product((OLD, NEW), (ended, live)):
            record_log_line(session, run_id, LogLevel.INFO, f"{at:%d}", at=at)
    after, removed = 0, 0
    while after is not None:
        with transaction(engine) as session:
            batch = purge_log(session, before=CUT, after_id=after, limit=1)
        after, removed = batch.last_id, removed + batch.removed
    assert removed == 1
    with transaction(engine) as session:
        lines = session.execute(select(RunLogLine.run_id, RunLogLine.at).order_by(RunLogLine.id)).all()
        assert [tuple(line) for line in lines] == [(live, OLD), (ended, NEW), (live, NEW)]
        assert get_kept_since(session, History.LOG) == CUT
        assert get_kept_since(session, History.RUNS) is None


def test_marks_only_move_on_and_only_when_something_went(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive)
        add_run(session, job, OLD)
        job.last_run_id = add_run(session, job, NEW)
        assert purge_runs(session, before=OLD).removed == 0
        assert get_kept_since(session, History.RUNS) is None
        assert purge_runs(session, before=CUT).removed == 1
        assert get_kept_since(session, History.RUNS) == CUT
        add_run(session, job, OLD - timedelta(days=9))
        assert purge_runs(session, before=OLD).removed == 1
        assert get_kept_since(session, History.RUNS) == CUT


def test_ledger_does_not_call_purged_time_lost(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive, schedule=DAILY, next_run=NOW)
        starts_at = (NOW - timedelta(days=40)).replace(hour=0)
        session.execute(update(SchedulePeriod).values(starts_at=starts_at))
        for day in range(41):
            at = starts_at.replace(hour=2) + timedelta(days=day)
            status = {3: RunStatus.MISSED, 35: RunStatus.MISSED}.get(day, RunStatus.COMPLETED)
            run_id = add_run(
                session, job, at, trigger=RunTrigger.SCHEDULE, status=status, started_at=at, finished_at=at
            )
        job.last_run_id, job.next_run = run_id, at + timedelta(days=1)
    period: dict[str, datetime] = {"starts_at": starts_at, "ends_at": NOW, "now": NOW}
    with transaction(engine) as session:
        whole = draw_up_ledger(session, olive, job.id, **period)
    assert (whole.expected, whole.balances, whole.kept_since) == (41, True, None)

    kept = 41 - purge(engine)
    assert 25 < kept < 35
    with transaction(engine) as session:
        clipped = draw_up_ledger(session, olive, job.id, **period)
        assert (clipped.expected, clipped.lost_count, clipped.unexpected_count) == (kept, 0, 0)
        assert clipped.count(Account.MISSED) == 1
        assert clipped.kept_since == CUT
        session.execute(text("DELETE FROM retention_marks"))
        assert draw_up_ledger(session, olive, job.id, **period).lost_count == 41 - kept


def test_a_span_of_occurrences_that_reaches_into_the_kept_time_still_accounts_for_it(
    engine: Engine, olive: Viewer
) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive, schedule=DAILY, next_run=NOW)
        starts_at = CUT - timedelta(days=5)
        session.execute(update(SchedulePeriod).values(starts_at=starts_at))
        until = CUT.replace(hour=2) + timedelta(days=2)
        first = starts_at.replace(hour=2) + timedelta(days=1)
        add_run(session, job, first, trigger=RunTrigger.SCHEDULE, status=RunStatus.MISSED, occurrences=7,
                scheduled_until=until, finished_at=until)  # fmt: skip
        add_run(session, make_job(session, olive), OLD)
    assert purge(engine) == 1  # the other job's
    with transaction(engine) as session:
        book = draw_up_ledger(session, olive, job.id, starts_at=starts_at, ends_at=until, now=NOW)
    assert (book.expected, book.count(Account.MISSED), book.balances) == (1, 1, True)


def test_the_scheduler_purges_by_its_settings_and_goes_on_where_it_was(
    engine: Engine, olive: Viewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    with transaction(engine) as session:
        job = make_job(session, olive)
        for _ in range(5):
            record_log_line(session, add_run(session, job, OLD), LogLevel.INFO, "done", at=OLD)
        job.last_run_id = add_run(session, job, NEW)
    runs_for_ever = HistoryPurge(engine, Settings(home=tmp_path, keep_runs_days=0, keep_log_days=0))
    assert not runs_for_ever.take_turn(NOW)
    assert len(runs_left(engine)) == 6

    purging = HistoryPurge(engine, Settings(home=tmp_path, keep_runs_days=30, keep_log_days=14))
    left = [6]
    while purging.take_turn(NOW, seconds=0):
        left.append(len(runs_left(engine)))
    assert left == [6, 4, 2, 1]
    with transaction(engine) as session:
        assert session.scalar(select(func.count()).select_from(RunLogLine)) == 0
        assert get_job(session, olive, job.id).last_run_id == runs_left(engine)[0]


def test_the_service_counts_first_and_purges_then(engine: Engine, olive: Viewer, tmp_path: Path) -> None:
    with transaction(engine) as session:
        make_run(session, make_job(session, olive), status=RunStatus.COMPLETED, at=OLD)
    service = SchedulerService(engine, Settings(home=tmp_path, slots=0, keep_runs_days=30))
    service.purge()
    assert len(runs_left(engine)) == 1
    service.count()
    service.purge()
    assert runs_left(engine) == []
    with transaction(engine) as session:
        assert session.scalars(select(JobDay.completed)).all() == [1]


def test_a_bill_in_use_makes_the_purge_try_again_later(engine: Engine, olive: Viewer, tmp_path: Path) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive)
        run_id = add_run(session, job, OLD)
        session.add(Bill(session_id=job.id, username="a", bill_key="1", first_seen_run=run_id, documents=[]))
    purging = HistoryPurge(engine, Settings(home=tmp_path, keep_runs_days=30))
    with Session(engine) as importing, importing.begin():
        importing.execute(select(Bill).with_for_update())
        assert purging.take_turn(NOW)
        assert runs_left(engine) == [run_id]
    purging.take_turn(NOW)
    assert runs_left(engine) == []


def test_counting_and_purging_meet_in_the_same_history(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive)
        ids = [make_run(session, job, status=RunStatus.COMPLETED, at=OLD).id for _ in range(4)]
    with Session(engine) as counting, counting.begin():
        assert count_ended_runs(counting, limit=2) == 2
        assert purge(engine) == 0
    assert purge(engine) == 2
    assert runs_left(engine) == ids[2:]
