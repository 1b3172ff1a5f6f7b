"""The history views: figures of the viewer's own jobs, by period, and what they say when there is nothing."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from db.daily_figures import DayFigures, count_ended_runs
from db.engine import transaction
from db.models import History, RetentionMark, RunStatus
from db.viewers import Viewer
from tests.factories import make_job, make_run
from tests.ui.conftest import OpenPage, words
from ui.history_figures import accounts_frame, days_in_a_bar, in_bars, lateness_frame, outcomes_frame, sum_up

DAY = date(2025, 3, 10)  # a Monday


def add_history(engine: Engine, viewer: Viewer, *, days_ago: int = 0, runs: int = 3, **columns: Any) -> str:
    """A job with that many completed runs and one that failed, counted; returns its id."""
    with transaction(engine) as session:
        job = make_job(session, viewer)
        at = datetime.now(UTC) - timedelta(days=days_ago)
        for status in (*[RunStatus.COMPLETED] * runs, RunStatus.FAILED):
            make_run(session, job, status=status, at=at, started_at=at, lateness_seconds=0.02, **columns)
        count_ended_runs(session)
        return job.id


def test_history_shows_what_the_viewers_jobs_did(
    engine: Engine, olive: Viewer, otto: Viewer, open_page: OpenPage
) -> None:
    add_history(engine, olive, accounts_done=4, accounts_succeeded=3)
    add_history(engine, otto, runs=90)
    said = words(open_page(olive, "history"))
    assert "**4**" in said
    assert "75.0% completed" in said
    assert "75.0% succeeded" in said
    assert "**16**" in said
    assert "**20 ms**" in said
    assert "94" not in said


def test_history_of_a_job_follows_the_period(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    job_id = add_history(engine, olive, days_ago=40)
    app = open_page(olive, "job", id=job_id, tab="History")
    assert "Nothing ran in this period" in words(app)
    app.segmented_control(f"figures-days-{job_id}").set_value(90).run()
    assert "75.0% completed" in words(app)
    app.segmented_control(f"figures-days-{job_id}").set_value(365).run()
    assert "A bar is a week" in words(app)
    assert not app.exception


def test_purged_time_is_told_beside_the_runs(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    job_id = add_history(engine, olive)
    assert "kept since" not in words(open_page(olive, "job", id=job_id))
    with transaction(engine) as session:
        session.add(RetentionMark(history=History.RUNS, kept_since=datetime(2024, 3, 9, 9, 0, tzinfo=UTC)))
    for page in (open_page(olive, "job", id=job_id), open_page(olive, "history")):
        assert "runs are kept since Sat 9 Mar 2024, 09:00" in words(page).replace("Runs", "runs")


def test_days_sum_up_to_the_period() -> None:
    days = [
        DayFigures(DAY, completed=2, missed=7, bills_new=5, started=2, lateness_seconds=3, lateness_max_seconds=2),
        DayFigures(DAY + timedelta(days=1), partial=1, skipped=3, started=1, lateness_seconds=3,
                   lateness_max_seconds=3),
    ]  # fmt: skip
    total = sum_up(days)
    assert (total.runs, total.missed, total.skipped, total.bills_new) == (3, 7, 3, 5)
    assert (total.mean_lateness_seconds, total.lateness_max_seconds) == (2, 3)
    assert sum_up([DayFigures(DAY)]).mean_lateness_seconds is None


@pytest.mark.parametrize(("days", "bars"), [(7, 7), (120, 120), (365, 53)])
def test_long_periods_have_a_bar_a_week_and_lose_nothing(days: int, bars: int) -> None:
    figures = [DayFigures(DAY + timedelta(days=n), completed=n, accounts_failed=1) for n in range(days)]
    drawn = in_bars(figures, days_in_a_bar(days))
    assert len(drawn) == bars
    assert {bar.day.weekday() for bar in drawn} == ({0} if bars == 53 else set(range(7)))
    assert outcomes_frame(drawn)["count"].sum() == sum(range(days))
    assert accounts_frame(drawn)["count"].sum() == days


def test_lateness_has_points_only_where_runs_began() -> None:
    bars = [DayFigures(DAY), DayFigures(DAY + timedelta(days=1), started=2, lateness_seconds=1, lateness_max_seconds=1)]
    assert [tuple(row)[1:] for row in lateness_frame(bars).itertuples(index=False)] == [("Worst", 1), ("Average", 0.5)]
