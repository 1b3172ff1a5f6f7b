"""Firing for a year of simulated time, across the clock changes of three zones: each occurrence once.

The fire step runs at every instant at which a schedule is due, as the service runs it, a little late and now
and then hours late. Nobody claims, so a job that skips overlaps skips all but its first run: a row each.
"""

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
from sqlalchemy import Engine, text

from db.engine import create_database_engine, normalise_url, transaction
from db.firing import BATCH_SIZE, FirePass, fire_due_jobs, get_earliest_next_run
from db.models import RunStatus
from recurrence import Rule
from tests.factories import make_viewer
from tests.postgres import TestServer
from tests.simulated_year import ENDS_AT, ZONES, Reading, YearJob, changes_in_year, draw_jobs, read_case

SEED = "a year"
SMALL_BATCH = 75  # about as many jobs share a rule
LATE_CHANCE = 0.03
LATEST = timedelta(hours=6)  # 24 occurrences of the densest rule, far from the hundred that still get rows of their own
WAIT_SECONDS = 120
HOUR = timedelta(hours=1)
SHOWN = 10
ROWS = """
    SELECT session_id, scheduled_for, occurrences, status, cause, reason, scheduled_until, start_by, queued_at
    FROM import_runs ORDER BY session_id, scheduled_for
"""
STATES = "SELECT id, last_scheduled_run, next_run, status FROM import_sessions ORDER BY id"


@dataclass(frozen=True)
class Year:
    """What a year leaves in the tables, as ROWS and STATES select it, and what the schedulers say they did."""

    rows: Sequence[tuple[Any, ...]]
    states: Sequence[tuple[Any, ...]]
    fired: Sequence[FirePass]  # by scheduler


class SimulatedClock:
    """Stands at the earliest schedule and a little more; all schedulers read it; None once the year is over."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._chance = random.Random(SEED)
        self.now: datetime | None = None

    def advance(self) -> None:
        with transaction(self._engine) as session:
            earliest = get_earliest_next_run(session)
        assert earliest is None or self.now is None or earliest > self.now, f"{earliest} was left behind"
        seconds = self._chance.uniform(0.001, 3)
        if self._chance.random() < LATE_CHANCE:
            seconds = self._chance.uniform(60, LATEST.total_seconds())
        is_over = earliest is None or earliest > ENDS_AT
        self.now = None if is_over else min(earliest + timedelta(seconds=seconds), ENDS_AT)


@pytest.fixture(scope="module")
def jobs() -> list[YearJob]:
    return draw_jobs(SEED)


@pytest.fixture(scope="module")
def year_of_one(postgres: TestServer, jobs: list[YearJob]) -> Iterator[Year]:
    """Both tests look at it: it is the slow part."""
    address = postgres.create(postgres.template)
    yield run_year(address, jobs, schedulers=1)
    postgres.finish(address)


def test_every_occurrence_of_a_year_leaves_one_row(jobs: list[YearJob], year_of_one: Year) -> None:
    readings = {rule: read_case(case) for rule, case in {job.case.rule: job.case for job in jobs}.items()}
    assert_year_is_telling(readings)
    found = {job_id: [row[1] for row in rows] for job_id, rows in groupby(year_of_one.rows, lambda row: row[0])}
    differences = [
        f"{job.id} {job.case.rule}: {difference}"
        for job in jobs
        if (difference := compare(found.get(job.id, []), readings[job.case.rule].in_year))
    ]
    assert differences[:SHOWN] == []
    assert sum(row[2] for row in year_of_one.rows) == sum(len(readings[job.case.rule].in_year) for job in jobs)
    ends = {(job.id, readings[job.case.rule].in_year[-1], readings[job.case.rule].following) for job in jobs}
    assert sorted({state[:3] for state in year_of_one.states} ^ ends)[:SHOWN] == []
    # Late passes had something to catch up, and what did not run has its row as well.
    assert {row[3] for row in year_of_one.rows} == {RunStatus.QUEUED, RunStatus.MISSED, RunStatus.SKIPPED}


def test_two_schedulers_leave_the_rows_of_one(database_url: str, jobs: list[YearJob], year_of_one: Year) -> None:
    """The same 10,000 jobs by the same clock; batches are smaller, so that both find work at most instants."""
    year = run_year(database_url, jobs, schedulers=2, limit=SMALL_BATCH)
    assert sorted(set(year.rows) ^ set(year_of_one.rows), key=str)[:SHOWN] == []
    assert len(year.rows) == len(year_of_one.rows)
    assert year.states == year_of_one.states
    (one,) = year_of_one.fired
    # No job was fired by both, not even where the index would have kept the second row out.
    assert sum(fired.due for fired in year.fired) == one.due
    assert sum(fired.queued for fired in year.fired) == one.queued
    assert min(fired.due for fired in year.fired) > 0


def assert_year_is_telling(readings: dict[Rule, Reading]) -> None:
    """Each change of each zone's clock has rules that fire right by it."""
    for time_zone in ZONES:
        changes = changes_in_year(time_zone)
        assert len(changes) == 2
        for change in changes:
            near = [
                rule
                for rule, reading in readings.items()
                if rule.time_zone == time_zone and any(abs(at - change.at) <= HOUR for at in reading.in_year)
            ]
            assert len(near) >= 10


def compare(found: Sequence[datetime], expected: Sequence[datetime]) -> str:
    """What is wrong with a job's occurrences, or nothing."""
    there, wanted = Counter(found), Counter(expected)
    lost, extra = sorted((wanted - there).elements()), sorted((there - wanted).elements())
    return "; ".join(
        f"{len(instants)} {what}, first {instants[0]}"
        for what, instants in (("lost", lost), ("doubled or extra", extra))
        if instants
    )


def run_year(address: str, jobs: Sequence[YearJob], *, schedulers: int, limit: int = BATCH_SIZE) -> Year:
    """Let that many schedulers fire the jobs' year, each with connections of its own, all by one clock."""
    engines = [create_database_engine(normalise_url(address), application="tests") for _ in range(schedulers)]
    add_jobs(engines[0], jobs)
    clock = SimulatedClock(engines[0])
    # The clock moves on when all have finished with an instant, so it is known at which one a job was fired.
    barrier = threading.Barrier(schedulers, action=clock.advance, timeout=WAIT_SECONDS)
    with ThreadPoolExecutor(schedulers) as pool:
        futures = [pool.submit(fire_until_over, engine, clock, barrier, limit) for engine in engines]
    errors = [error for future in futures if (error := future.exception())]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
    with engines[0].connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(ROWS))]
        states = [tuple(row) for row in connection.execute(text(STATES))]
    for engine in engines:
        engine.dispose()
    return Year(rows, states, [future.result() for future in futures])


def add_jobs(engine: Engine, jobs: Sequence[YearJob]) -> None:
    with transaction(engine) as session:
        viewer = make_viewer(session)
        session.execute(
            text("""
                INSERT INTO import_sessions (user_id, name, login_url, billing_url, is_scheduled, id, schedule_type,
                    schedule_config, time_zone, next_run, catch_up, overlap, misfire_grace_seconds)
                SELECT :user_id, 'Water bills', 'https://portal.example/login', 'https://portal.example/billing', true,
                    v.*
                FROM unnest(
                    CAST(:ids AS text[]), CAST(:types AS text[]), CAST(:configs AS jsonb[]), CAST(:zones AS text[]),
                    CAST(:next_runs AS timestamptz[]), CAST(:catch_ups AS text[]), CAST(:overlaps AS text[]),
                    CAST(:start_windows AS int[])
                ) AS v
            """),
            {
                "user_id": viewer.user_id,
                "ids": [job.id for job in jobs],
                "types": [job.case.schedule_type for job in jobs],
                "configs": [json.dumps(job.case.config) for job in jobs],
                "zones": [job.case.rule.time_zone for job in jobs],
                "next_runs": [job.next_run for job in jobs],
                "catch_ups": [job.catch_up.value for job in jobs],
                "overlaps": [job.overlap.value for job in jobs],
                "start_windows": [job.misfire_grace_seconds for job in jobs],
            },
        )
        session.execute(text("ANALYZE import_sessions"))


def fire_until_over(engine: Engine, clock: SimulatedClock, barrier: threading.Barrier, limit: int) -> FirePass:
    """One scheduler's year, as SchedulerService.fire has it; returns what all its batches did."""
    due = queued = 0
    try:
        while barrier.wait() >= 0 and clock.now is not None:
            is_finished = False
            while not is_finished:
                with transaction(engine) as session:
                    done = fire_due_jobs(session, clock.now, limit=limit)
                due += done.due
                queued += done.queued
                is_finished = done.due < limit
    except BaseException:
        barrier.abort()  # the other scheduler would wait for this one
        raise
    return FirePass(due, queued)
