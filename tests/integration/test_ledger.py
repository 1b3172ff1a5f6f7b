"""The ledger: every expected occurrence is accounted for once, and what is lost or doubled is shown."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, delete, select, text, update

from db.calendars import CalendarDraft, update_calendar
from db.claiming import claim_runs, expire_runs
from db.claims import finish_run
from db.engine import transaction
from db.errors import NotFoundError
from db.firing import fire_due_jobs
from db.jobs import create_job, pause_job, resume_job, update_job, update_schedule
from db.ledger import MAX_SHOWN, Account, InvalidPeriodError, Ledger, draw_up_ledger
from db.ledger_words import describe_ledger
from db.models import CatchUp, Job, OnHoliday, Overlap, Role, Run, RunStatus, RunTrigger, SchedulePeriod
from db.runs import request_stop
from db.schedules import RunPolicy, Schedule, schedule_of
from db.viewers import Viewer
from recurrence import DayOff, occurrences
from tests.factories import (
    BOX,
    DAILY,
    EVERY_MINUTE,
    HOURLY,
    NOW,
    day_off,
    make_calendar,
    make_draft,
    make_job,
    make_outage,
    make_run,
    make_viewer,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LEASE = timedelta(seconds=30)
UTC_ZONE = ZoneInfo("UTC")
MIDNIGHT = datetime(2025, 3, 10, tzinfo=UTC)


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


def add_job(engine: Engine, viewer: Viewer, schedule: Schedule = HOURLY, **columns: object) -> str:
    with transaction(engine) as session:
        return make_job(session, viewer, schedule=schedule, **columns).id


def fire(engine: Engine, now: datetime) -> None:
    with transaction(engine) as session:
        while fire_due_jobs(session, now).due:
            session.flush()


def run_everything(engine: Engine, now: datetime, outcome: RunStatus = RunStatus.COMPLETED) -> None:
    with transaction(engine) as session:
        while claims := claim_runs(session, now, worker="w", slots=50, lease=LEASE).claims:
            for claim in claims:
                finish_run(session, claim.run_id, claim.lease_token, outcome, None, now)


def ledger(
    engine: Engine, viewer: Viewer, job_id: str, since: datetime, until: datetime, now: datetime | None = None
) -> Ledger:
    with transaction(engine) as session:
        return draw_up_ledger(session, viewer, job_id, starts_at=since, ends_at=until, now=now or until)


def counts(book: Ledger) -> dict[tuple[str, str | None], int]:
    return {(group.account.value, group.cause and group.cause.value): group.count for group in book.groups}


# After any history


class History:
    """A job whose schedule, policy, calendar and clock change at random, and what should have been expected of it."""

    SCHEDULES = (
        Schedule("custom", {"cron_expression": "*/7 * * * *"}, "Europe/London"),
        Schedule("custom", {"cron_expression": "*/15 1-4 * * *"}, "America/New_York"),
        Schedule("custom", {"cron_expression": "30 */2 * * *"}, "Australia/Lord_Howe"),
        Schedule("daily", {"hour": 1, "minute": 30}, "Europe/London"),
        Schedule("daily", {"hour": 2, "minute": 30}, "America/New_York"),
        Schedule("weekly", {"day_of_week": [1, 3, 5, 6], "hour": 9, "minute": 0}, "UTC"),
        Schedule("monthly", {"day": 30, "hour": 0, "minute": 0}, "Asia/Kolkata"),
    )

    def __init__(self, engine: Engine, viewer: Viewer, seed: str) -> None:
        self.engine, self.viewer, self.chance = engine, viewer, random.Random(seed)
        # Before the clocks change in one of the zones.
        self.began_at = self.now = self.chance.choice([NOW - 4 * DAY, NOW + 17 * DAY, NOW + 230 * DAY])
        self.periods: list[tuple[Schedule, datetime, datetime | None]] = []
        self.called_off: set[datetime] = set()
        with transaction(engine) as session:
            self.calendar_id = make_calendar(session, viewer, *self.draw_days(), name=seed)
            policy = RunPolicy(calendar_ids=(self.calendar_id,), on_holiday=self.chance.choice(list(OnHoliday)))
            draft = replace(make_draft(schedule=self.chance.choice(self.SCHEDULES)), policy=policy)
            self.job_id = create_job(session, viewer, draft, BOX, authorised=True, now=self.now).id
        assert draft.schedule is not None
        self.periods.append((draft.schedule, self.now, None))

    def draw_days(self) -> list[DayOff]:
        starts = [(self.now + self.chance.randrange(-2, 12) * DAY).date() for _ in range(self.chance.choice([1, 3, 6]))]
        return [DayOff(on, on + timedelta(days=self.chance.choice([0, 0, 2])), f"closed from {on}") for on in starts]

    def read_job(self) -> Job:
        with transaction(self.engine) as session:
            return session.get_one(Job, self.job_id)

    def fire(self, *, late: bool = False) -> None:
        if late:
            with transaction(self.engine) as session:
                make_outage(session, self.last_pass, self.now)
        fire(self.engine, self.now)

    def step(self) -> None:
        self.last_pass = self.now
        step = self.chance.choice(
            [
                self.live_through_hours,
                self.live_through_hours,
                self.live_through_hours,
                self.be_down,
                self.be_down,
                self.edit_schedule,
                self.edit_policy,
                self.edit_policy,
                self.edit_calendar,
                self.pause_or_resume,
                self.work,
                self.work,
            ]
        )
        if self.chance.random() < 0.3:  # something falls due and nobody fires it before the next step
            self.now += timedelta(minutes=self.chance.choice([1, 40, 300, 1500]))
        step()

    def live_through_hours(self) -> None:
        for _ in range(self.chance.choice([3, 10])):
            self.now += timedelta(minutes=self.chance.choice([5, 30, 120]), seconds=self.chance.randrange(60))
            self.fire()
            if self.chance.random() < 0.5:
                self.work()

    def be_down(self) -> None:
        self.now += timedelta(minutes=self.chance.choice([3, 90, 1000, 3000]), seconds=self.chance.randrange(60))
        self.fire(late=True)

    def work(self) -> None:
        if self.chance.random() < 0.5:
            with transaction(self.engine) as session:
                expire_runs(session, self.now)
        outcome = self.chance.choice([RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.STOPPED])
        run_everything(self.engine, self.now, outcome)

    def edit_schedule(self) -> None:
        job = self.read_job()
        before = schedule_of(job)
        after = self.chance.choice([*self.SCHEDULES, before, None])
        with transaction(self.engine) as session:
            update_schedule(session, self.viewer, self.job_id, after, now=self.now)
        if after == before:
            return
        self.called_off |= {at for at in job.moved_runs if at > self.now}
        if before is not None and job.paused_at is None:
            self.close_period()
        if after is not None and job.paused_at is None:
            self.periods.append((after, self.now, None))

    def edit_policy(self) -> None:
        policy = RunPolicy(
            self.chance.choice(list(CatchUp)),
            self.chance.choice(list(Overlap)),
            self.chance.choice([None, 30, 3600, 86400]),
            self.chance.choice([(), (self.calendar_id,), (self.calendar_id,)]),
            self.chance.choice([OnHoliday.SKIP, OnHoliday.MOVE, OnHoliday.MOVE]),
        )
        with transaction(self.engine) as session:
            update_job(session, self.viewer, self.job_id, now=self.now, policy=policy)

    def edit_calendar(self) -> None:
        with transaction(self.engine) as session:
            draft = CalendarDraft(f"calendar of {self.job_id}", self.draw_days(), weekend=frozenset({0, 6}))
            update_calendar(session, self.viewer, self.calendar_id, draft, now=self.now)

    def pause_or_resume(self) -> None:
        job = self.read_job()
        schedule = schedule_of(job)
        if schedule is None:
            return
        with transaction(self.engine) as session:
            if job.paused_at is None:
                pause_job(session, self.viewer, self.job_id, now=self.now)
                self.close_period()
            else:
                resume_job(session, self.viewer, self.job_id, now=self.now)
                self.periods.append((schedule, self.now, None))

    def close_period(self) -> None:
        schedule, starts_at, _ = self.periods[-1]
        self.periods[-1] = (schedule, starts_at, self.now)

    def expected(self) -> set[datetime]:
        """What the schedules in force named, and when what they moved was to run."""
        found: set[datetime] = set()
        with transaction(self.engine) as session:
            moved = set(session.scalars(select(Run.moved_to).where(Run.session_id == self.job_id)))
        for schedule, starts_at, ends_at in self.periods:
            until = min(ends_at or self.now, self.now)
            found |= {occurrence.at for occurrence in occurrences(schedule.rule, starts_at, until)}
            found |= {at for at in moved - self.called_off if at is not None and starts_at < at <= until}
        return found


@pytest.mark.parametrize("seed", range(24))
def test_ledger_balances_after_any_history(engine: Engine, viewer: Viewer, seed: int) -> None:
    history = History(engine, viewer, f"history {seed}")
    for _ in range(45):
        history.step()
        job = history.read_job()
        assert job.next_run is None or not job.moved_runs or job.next_run <= min(job.moved_runs) or job.paused_at
    expected = history.expected()
    whole = ledger(engine, viewer, history.job_id, history.began_at, history.now + DAY, history.now)
    assert (whole.expected, whole.lost_count, whole.unexpected_count) == (len(expected), 0, 0), (
        whole.lost,
        whole.unexpected,
    )
    assert sum(group.count for group in whole.groups) == whole.expected
    day = datetime.combine(history.began_at.date(), datetime.min.time(), UTC)
    while day <= history.now:
        book = ledger(engine, viewer, history.job_id, day, day + DAY, history.now)
        in_the_day = sum(1 for at in expected if day <= at < day + DAY)
        assert (book.expected, book.lost, book.unexpected) == (in_the_day, [], []), (day, seed)
        day += DAY
    # Every occurrence is in exactly one row, moved ones and those counted together included.
    history.fire()
    with transaction(engine) as session:
        rows = session.scalars(select(Run).where(Run.session_id == history.job_id)).all()
    assert sum(row.occurrences for row in rows) == len(history.expected())


# What it counts


def test_ledger_reads_as_a_sentence(engine: Engine, viewer: Viewer) -> None:
    schedule = Schedule("custom", {"cron_expression": "15 2,3,4,5 * * *"}, "UTC")
    job_id = add_job(engine, viewer, schedule, next_run=MIDNIGHT + 135 * MINUTE, overlap=Overlap.SKIP)
    with transaction(engine) as session:
        make_outage(session, MIDNIGHT + 2 * HOUR, MIDNIGHT + 3 * HOUR + 10 * MINUTE)
    fire(engine, MIDNIGHT + 3 * HOUR + 15 * MINUTE)
    run_everything(engine, MIDNIGHT + 4 * HOUR)
    fire(engine, MIDNIGHT + 4 * HOUR + 15 * MINUTE)
    fire(engine, MIDNIGHT + 5 * HOUR + 15 * MINUTE)
    run_everything(engine, MIDNIGHT + 6 * HOUR)
    book = ledger(engine, viewer, job_id, MIDNIGHT, MIDNIGHT + DAY)
    assert describe_ledger(book, UTC_ZONE) == (
        "4 expected, 4 accounted for: 2 ran, 1 missed (service down 10 Mar 02:00 to 03:10), 1 skipped (overlap)"
    )
    assert describe_ledger(book, ZoneInfo("Asia/Kolkata")).endswith(
        "(service down 10 Mar 07:30 to 08:40), 1 skipped (overlap)"
    )


def test_outages_over_midnight_and_several_are_told(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, HOURLY, next_run=MIDNIGHT)
    for first in (0, 5, 10, 15):
        began_at = MIDNIGHT + first * HOUR - 30 * MINUTE
        fire(engine, began_at)
        with transaction(engine) as session:
            make_outage(session, began_at, began_at + 3 * HOUR)
        fire(engine, began_at + 3 * HOUR)
        run_everything(engine, began_at + 3 * HOUR)
        for hour in (3, 4):
            fire(engine, MIDNIGHT + (first + hour) * HOUR)
            run_everything(engine, MIDNIGHT + (first + hour) * HOUR)
    words = describe_ledger(ledger(engine, viewer, job_id, MIDNIGHT, MIDNIGHT + 20 * HOUR), UTC_ZONE)
    assert words == (
        "20 expected, 20 accounted for: 12 ran, 8 missed (service down 9 Mar 23:30 to 10 Mar 02:30, "
        "10 Mar 04:30 to 07:30, 10 Mar 09:30 to 12:30 and once more)"
    )


@pytest.mark.parametrize(
    ("status", "started", "account"),
    [
        (RunStatus.COMPLETED, True, "ran"),
        (RunStatus.FAILED, True, "ran"),
        (RunStatus.STOPPED, True, "ran"),
        (RunStatus.STOPPED, False, "stopped before the start"),
        (RunStatus.QUEUED, False, "queued or running"),
    ],
)
def test_what_became_of_a_run(engine: Engine, viewer: Viewer, status: RunStatus, started: bool, account: str) -> None:
    job_id = add_job(engine, viewer)
    fire(engine, NOW)
    if status != RunStatus.QUEUED and started:
        run_everything(engine, NOW, status)
    elif status != RunStatus.QUEUED:
        with transaction(engine) as session:
            request_stop(session, viewer, job_id, now=NOW)
    words = describe_ledger(ledger(engine, viewer, job_id, NOW, NOW + HOUR), UTC_ZONE)
    assert words == f"1 expected, 1 accounted for: 1 {account}"


def test_due_but_not_fired_is_not_lost(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer)
    book = ledger(engine, viewer, job_id, NOW, NOW + DAY, NOW + 2 * HOUR)
    assert (book.expected, book.count(Account.DUE), book.lost_count, book.balances) == (3, 3, 0, True)
    assert describe_ledger(book, UTC_ZONE) == "3 expected, 3 accounted for: 3 about to start"


def test_nothing_is_expected_of_the_future(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer)
    book = ledger(engine, viewer, job_id, NOW + DAY, NOW + 2 * DAY, NOW)
    assert (book.expected, book.balances) == (0, True)
    assert describe_ledger(book, UTC_ZONE) == "0 expected: the schedule has no run in this period"


def test_run_by_hand_is_no_occurrence(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, DAILY, next_run=NOW + 14 * HOUR)
    with transaction(engine) as session:
        session.execute(
            text("""
                INSERT INTO import_runs (session_id, trigger, scheduled_for, owner_id)
                VALUES (:id, 'manual', :at, 'u')
            """),
            {"id": job_id, "at": NOW + MINUTE},
        )
    assert ledger(engine, viewer, job_id, NOW, NOW + HOUR).expected == 0
    assert ledger(engine, viewer, job_id, NOW, NOW + HOUR).balances


def test_retries_are_told_with_the_occurrence_and_are_none_themselves(engine: Engine, viewer: Viewer) -> None:
    """Of four that ran, one was tried again twice in a row, one will be, and one was called off before it began."""
    job_id = add_job(engine, viewer)
    for hour in range(4):
        fire(engine, NOW + hour * HOUR)
        run_everything(engine, NOW + hour * HOUR, RunStatus.PARTIAL)
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        first, second, third, _ = session.scalars(select(Run).where(Run.session_id == job_id).order_by(Run.id))
        ended = {"trigger": RunTrigger.RETRY, "status": RunStatus.PARTIAL, "started_at": NOW + 10 * MINUTE}
        again = make_run(session, job, parent_run_id=first.id, **ended)
        make_run(session, job, parent_run_id=again.id, **ended)
        make_run(session, job, parent_run_id=second.id, trigger=RunTrigger.RETRY)
        make_run(session, job, parent_run_id=third.id, **(ended | {"status": RunStatus.STOPPED, "started_at": None}))
    book = ledger(engine, viewer, job_id, NOW, NOW + 4 * HOUR)
    assert describe_ledger(book, UTC_ZONE) == "4 expected, 4 accounted for: 4 ran; failed accounts of 1 tried again"
    assert ledger(engine, viewer, job_id, NOW + HOUR, NOW + 4 * HOUR).retried_count == 0


# What it catches


def test_deleted_row_is_shown_as_lost(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer)
    for hour in range(5):
        fire(engine, NOW + hour * HOUR)
        run_everything(engine, NOW + hour * HOUR)
    with transaction(engine) as session:
        session.execute(delete(Run).where(Run.scheduled_for == NOW + 2 * HOUR))
    book = ledger(engine, viewer, job_id, NOW, NOW + 5 * HOUR)
    assert (book.balances, list(book.lost), book.accounted) == (False, [NOW + 2 * HOUR], 4)
    assert describe_ledger(book, UTC_ZONE) == "5 expected, 4 accounted for: 4 ran; 1 left no trace"


def test_row_at_a_wrong_instant_is_lost_and_unexpected(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer)
    fire(engine, NOW)
    run_everything(engine, NOW)
    fire(engine, NOW + HOUR)
    with transaction(engine) as session:
        wrong = NOW + 20 * MINUTE
        session.execute(update(Run).where(Run.scheduled_for == NOW).values(scheduled_for=wrong))
    book = ledger(engine, viewer, job_id, NOW, NOW + 2 * HOUR)
    assert list(book.lost) == [NOW]
    assert [(row.scheduled_for, row.status) for row in book.unexpected] == [(wrong, "completed")]
    assert describe_ledger(book, UTC_ZONE) == (
        "2 expected, 1 accounted for: 1 queued or running; 1 left no trace; 1 at a time that no schedule had"
    )


def test_many_lost_are_counted_whole_and_shown_in_part(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, EVERY_MINUTE)
    fire(engine, NOW + 59 * MINUTE)
    with transaction(engine) as session:
        session.execute(delete(Run))
    book = ledger(engine, viewer, job_id, NOW, NOW + HOUR)
    assert (book.lost_count, len(book.lost), book.lost[0]) == (60, MAX_SHOWN, NOW)


def test_row_of_a_moved_run_that_never_came_is_lost(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        calendar = make_calendar(session, viewer, day_off("2025-03-11"))
    job_id = add_job(
        engine, viewer, DAILY, next_run=NOW + 14 * HOUR, calendar_ids=[calendar], on_holiday=OnHoliday.MOVE
    )
    weekly = Schedule("weekly", {"day_of_week": 2, "hour": 2, "minute": 0}, "UTC")
    with transaction(engine) as session:
        update_schedule(session, viewer, job_id, weekly, now=NOW)
    fire(engine, NOW + 14 * HOUR)
    moved_to = NOW + 38 * HOUR
    assert ledger(engine, viewer, job_id, NOW, moved_to + HOUR, moved_to).count(Account.DUE) == 1
    fire(engine, moved_to)
    assert counts(ledger(engine, viewer, job_id, NOW, moved_to + HOUR)) == {
        ("skipped", "holiday"): 1,
        ("live", None): 1,
    }
    with transaction(engine) as session:
        session.execute(delete(Run).where(Run.scheduled_for == moved_to))
    assert list(ledger(engine, viewer, job_id, NOW, moved_to + HOUR).lost) == [moved_to]


# Rows that count several


def test_counted_row_is_split_at_the_bounds_of_the_period(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, EVERY_MINUTE)
    fire(engine, NOW + 299 * MINUTE)  # 200 in one row, 100 rows
    run_everything(engine, NOW + 299 * MINUTE)
    for first, last, expected in ((0, 300, 300), (0, 10, 10), (50, 150, 100), (199, 201, 2), (190, 200, 10)):
        book = ledger(engine, viewer, job_id, NOW + first * MINUTE, NOW + last * MINUTE, NOW + DAY)
        assert (book.expected, book.lost_count, book.unexpected_count) == (expected, 0, 0)
    before_half, after_half = (
        ledger(engine, viewer, job_id, NOW + first * MINUTE, NOW + last * MINUTE, NOW + DAY)
        for first, last in ((0, 77), (77, 300))
    )
    assert before_half.expected + after_half.expected == 300


# Periods


def test_period_holds_its_first_instant_and_not_its_last(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer)
    for hour in range(3):
        fire(engine, NOW + hour * HOUR)
    assert ledger(engine, viewer, job_id, NOW, NOW + 2 * HOUR, NOW + DAY).expected == 2
    assert ledger(engine, viewer, job_id, NOW + 1 * MINUTE, NOW + 2 * HOUR + MINUTE, NOW + 3 * HOUR).expected == 2


@pytest.mark.parametrize("minutes", [0, -1])
def test_period_that_does_not_end_after_its_start_is_refused(engine: Engine, viewer: Viewer, minutes: int) -> None:
    job_id = add_job(engine, viewer)
    with pytest.raises(InvalidPeriodError, match="not after it starts"):
        ledger(engine, viewer, job_id, NOW, NOW + minutes * MINUTE)


def test_period_of_too_many_occurrences_is_refused(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, EVERY_MINUTE)
    with pytest.raises(
        InvalidPeriodError, match="100,801 occurrences are expected in this period; choose one of at most 100,000"
    ):
        ledger(engine, viewer, job_id, NOW, NOW + 71 * DAY, NOW + 70 * DAY)
    # Neither does it help to have edited the schedule in between.
    with transaction(engine) as session:
        update_schedule(session, viewer, job_id, HOURLY, now=NOW + 40 * DAY)
        update_schedule(session, viewer, job_id, EVERY_MINUTE, now=NOW + 40 * DAY + MINUTE)
    with pytest.raises(InvalidPeriodError, match="choose one of at most 100,000"):
        ledger(engine, viewer, job_id, NOW, NOW + 80 * DAY)


def test_any_period_can_be_asked_for(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer)
    fire(engine, NOW)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert ledger(engine, viewer, job_id, first, last, NOW).expected == 1


def test_ledger_begins_with_the_first_known_schedule(engine: Engine, viewer: Viewer) -> None:
    """Rows from before the ledger was kept are nobody's fault."""
    job_id = add_job(engine, viewer)
    with transaction(engine) as session:
        session.execute(
            text(
                "INSERT INTO import_runs (session_id, trigger, scheduled_for, status, finished_at)"
                " VALUES (:id, 'schedule', :at, 'completed', :at)"
            ),
            {"id": job_id, "at": NOW - 25 * MINUTE},
        )
    fire(engine, NOW)
    book = ledger(engine, viewer, job_id, NOW - DAY, NOW + HOUR)
    assert (book.expected, book.unexpected_count) == (1, 0)
    assert book.known_since is not None
    assert NOW - MINUTE < book.known_since < NOW


def test_schedule_that_cannot_be_read_is_told(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer)
    fire(engine, NOW)
    with transaction(engine) as session:
        session.execute(update(SchedulePeriod).values(time_zone="Mars/Olympus"))
    book = ledger(engine, viewer, job_id, NOW, NOW + HOUR)
    assert (book.expected, book.is_readable, book.unexpected_count) == (0, False, 0)
    assert describe_ledger(book, UTC_ZONE) == ("nothing can be expected of a schedule that cannot be read")


# Rights


def test_ledger_is_the_owners_and_admins(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer)
    with transaction(engine) as session:
        other, admin = make_viewer(session, "other"), make_viewer(session, "root", Role.ADMIN)
    assert ledger(engine, admin, job_id, NOW, NOW + DAY).expected == 25 - 1
    with pytest.raises(NotFoundError):
        ledger(engine, other, job_id, NOW, NOW + DAY)
    with pytest.raises(NotFoundError):
        ledger(engine, viewer, "nothing", NOW, NOW + DAY)
