"""The Evidence page: green while nothing is wrong, else what is, over how much, and where to look."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from streamlit.testing.v1 import AppTest

from db.engine import transaction
from db.firing import fire_due_jobs
from db.instances import record_fire_pass, register_instance
from db.models import Job, Role, RunAttempt, RunStatus, RunTrigger
from db.viewers import Viewer
from tests.factories import EVERY_MINUTE, NOW, make_job, make_run, make_viewer
from tests.ui.conftest import OpenPage, words

MINUTE = timedelta(minutes=1)


@pytest.fixture
def ada(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session, "ada", Role.ADMIN)


@pytest.fixture(autouse=True)
def scheduler(engine: Engine) -> None:
    """Somebody fires."""
    now = datetime.now(UTC)
    with transaction(engine) as session:
        instance = register_instance(session, host="north", pid=1, version="1", slots=1, now=now)
        record_fire_pass(session, instance, now)


def fire_twice(engine: Engine, viewer: Viewer) -> tuple[Job, list[int]]:
    """With the guard gone, a job that fired twice."""
    with transaction(engine) as session:
        session.execute(text("DROP INDEX uq_import_runs_occurrence"))
        job = make_job(session, viewer, name="Water *bills*")
        done: dict[str, Any] = {"trigger": RunTrigger.SCHEDULE, "status": RunStatus.COMPLETED, "started_at": NOW}
        return job, [make_run(session, job, **done).id for _ in range(2)]


def badges(app: AppTest) -> list[str]:
    """The colour of each card's badge, in the order of the page."""
    marks = [m.value for m in app.markdown if "-badge[" in m.value]
    return [mark.split("-badge[")[0].lstrip(":") for mark in marks]


def test_page_is_green_while_nothing_is_wrong(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        make_job(session, olive, schedule=EVERY_MINUTE, next_run=datetime.now(UTC) - MINUTE)
    with transaction(engine) as session:
        fire_due_jobs(session, datetime.now(UTC))
    app = open_page(olive, "evidence")
    shown = words(app)
    assert not app.exception
    assert "All 8 counts are as they should be." in shown
    assert badges(app) == ["green"] * 8
    assert "of your own jobs" in shown
    assert "Made impossible by the unique index `uq_import_runs_occurrence`: in place." in shown
    assert re.search(r"Checked 1 job with a schedule in force, [1-9] occurrences?, back to", shown)
    assert "1 of them fired within the last 75 seconds." in shown


@pytest.mark.parametrize("is_owner", [True, False])
def test_page_shows_a_double_with_links_and_names_the_missing_index(
    engine: Engine, olive: Viewer, ada: Viewer, open_page: OpenPage, is_owner: bool
) -> None:
    job, run_ids = fire_twice(engine, olive)
    app = open_page(olive if is_owner else ada, "evidence")
    shown = words(app)
    assert "1 count needs a look: Occurrences fired twice." in shown
    assert badges(app) == ["red"] + ["green"] * 7
    assert "unique index that makes it impossible, `uq_import_runs_occurrence`, is missing." in shown
    links = ", ".join(f"[run {run_id}](/run?id={run_id})" for run_id in run_ids)
    assert f"[Water *bills*](/job?id={job.id}) fired 2 times, Mon 10 Mar 2025, 12:00: {links}" in shown


def test_page_shows_nobody_elses_double(engine: Engine, olive: Viewer, otto: Viewer, open_page: OpenPage) -> None:
    job, _ = fire_twice(engine, olive)
    shown = words(open_page(otto, "evidence"))
    assert "is missing" in shown
    assert "Water" not in shown
    assert job.id not in shown
    assert "/run?id=" not in shown


def test_page_asks_anew_when_told_to(engine: Engine, ada: Viewer, olive: Viewer, open_page: OpenPage) -> None:
    app = open_page(ada, "evidence")
    assert badges(app) == ["green"] * 8
    with transaction(engine) as session:
        session.execute(text("DROP INDEX uq_run_attempts_finished"))
        run = make_run(session, make_job(session, olive), status=RunStatus.COMPLETED)
        for worker in ("a", "b"):
            end: dict[str, Any] = {"ended_at": NOW, "outcome": "completed", "started_at": NOW}
            session.add(RunAttempt(run_id=run.id, attempt=1, worker=worker, lease_token=uuid4(), **end))
    app.button(key="evidence-again").click().run()
    assert badges(app) == ["green", "red"] + ["green"] * 6
    assert "finished by 2 workers" in words(app)


def test_page_says_how_many_more_there_are(
    engine: Engine, ada: Viewer, olive: Viewer, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(engine) as session:
        for _ in range(23):
            make_job(session, olive, schedule=EVERY_MINUTE, next_run=datetime.now(UTC) - 5 * MINUTE)
    app = open_page(ada, "evidence")
    shown = words(app)
    assert "Overdue schedules" in shown
    assert "And 3 more." in shown
    assert "Checked 23 jobs with a schedule in force." in shown
