"""What the pages tell of a queued run: its place in line and what it waits for."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from db.claiming import claim_runs
from db.engine import transaction
from db.instances import register_instance
from db.models import Job, Run, RunTrigger
from db.viewers import Viewer
from tests.factories import DAILY, NOW, make_job, make_portal, make_run
from tests.ui.conftest import OpenPage, words


@pytest.fixture
def queued(engine: Engine, olive: Viewer) -> list[tuple[Job, Run]]:
    """Four jobs of hers: one is running in the only slot, three wait in this order."""
    now = datetime.now(UTC)
    with transaction(engine) as session:
        register_instance(session, host="h", pid=1, version="1", slots=1, now=now)
        added = [add(session, olive, now - timedelta(minutes=minutes)) for minutes in (4, 3, 2, 1)]
        claim_runs(session, now, worker="w", slots=1, lease=timedelta(seconds=30))
    return added


def add(session: Session, viewer: Viewer, at: datetime) -> tuple[Job, Run]:
    job = make_job(session, viewer, schedule=DAILY, next_run=at + timedelta(days=1))
    return job, make_run(session, job, trigger=RunTrigger.SCHEDULE, at=at)


def test_run_page_tells_place_and_obstacle(olive: Viewer, open_page: OpenPage, queued: list[tuple[Job, Run]]) -> None:
    def progress(run: Run) -> str:
        return open_page(olive, "run", id=str(run.id)).get("progress")[0].proto.text

    assert [progress(run).replace("\\", "") for _, run in queued[1:]] == [
        "Next in line; waits for a free slot (1 of 1 in use).",
        "2nd in line; waits for a free slot (1 of 1 in use).",
        "3rd in line; waits for a free slot (1 of 1 in use).",
    ]


def test_job_page_tells_place_and_obstacle(olive: Viewer, open_page: OpenPage, queued: list[tuple[Job, Run]]) -> None:
    app = open_page(olive, "job", id=queued[2][0].id)
    assert "Queued: 2nd in line; waits for a free slot (1 of 1 in use)" in words(app)
    assert list(app.dataframe[0].value["reason"]) == ["2nd in line; waits for a free slot (1 of 1 in use)"]


def test_jobs_page_tells_the_places(olive: Viewer, open_page: OpenPage, queued: list[tuple[Job, Run]]) -> None:
    frame = open_page(olive, "jobs").dataframe[0].value
    waiting = frame[frame["status"].map(lambda pills: list(pills) == ["◌ Queued"])]
    assert sorted(waiting["next_run"]) == ["2nd in line", "3rd in line", "Next in line"]
    assert list(waiting["next_in"]) == list(waiting["next_run"])
    (running,) = set(frame.index) - set(waiting.index)
    assert "in line" not in frame.loc[running, "next_run"]


@contextmanager
def claimed_in_between(engine: Engine, reading: str, *, times: int) -> Generator[None]:
    """A scheduler takes the queued run just when pages have sent so many statements with that in them."""
    sent: list[str] = []
    claimed: list[int] = []

    def claim(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        if reading in statement:
            sent.append(statement)
            if len(sent) == times:
                with transaction(engine) as session:
                    done = claim_runs(session, NOW, worker="w", slots=1, lease=timedelta(hours=1))
                claimed.append(len(done.claims))

    event.listen(engine, "after_cursor_execute", claim)
    yield
    event.remove(engine, "after_cursor_execute", claim)
    assert claimed == [1]


@pytest.mark.parametrize(
    ("page", "reading", "times"),
    [("jobs", "DISTINCT ON (import_runs", 1), ("job", "DISTINCT ON (import_runs", 2), ("run", "run_attempts", 1)],
)
def test_a_page_never_lets_a_run_wait_for_itself(
    engine: Engine, olive: Viewer, open_page: OpenPage, page: str, reading: str, times: int
) -> None:
    """The list of jobs is opened on the way to the other pages."""
    with transaction(engine) as session:
        register_instance(session, host="h", pid=1, version="1", slots=1, now=datetime.now(UTC))
        job = make_job(session, olive)
        run = make_run(session, job)
    with claimed_in_between(engine, reading, times=times):
        app = open_page(olive, page, id=job.id if page == "job" else str(run.id))
    told = words(app) + "".join(bar.proto.text for bar in app.get("progress"))
    assert "Next in line" in told.replace("\\", "")
    assert "waits for the job" not in told


def test_name_of_a_portal_is_shown_as_it_is(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as session:
        register_instance(session, host="h", pid=1, version="1", slots=2, now=now)
        portal = make_portal(session, "*a*.example:81", max_concurrent_accounts=1)
        runs = [
            make_run(session, make_job(session, olive, portal_id=portal.id), trigger=RunTrigger.SCHEDULE, at=now)
            for _ in range(2)
        ]
        claim_runs(session, now, worker="w", slots=1, lease=timedelta(seconds=30))
    text = open_page(olive, "run", id=str(runs[1].id)).get("progress")[0].proto.text
    assert "\\*a\\*" in text
    assert text.replace("\\", "") == "Next in line; waits for *a*.example:81 (1 of 1 runs there)."
