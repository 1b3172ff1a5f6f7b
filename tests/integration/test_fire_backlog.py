"""Firing a backlog in two lanes: all of it, each occurrence once, and no failure unheard."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from db.engine import transaction
from db.firing import BATCH_SIZE, FirePass
from scheduler_service.firing import fire_backlog, rehearse
from tests.factories import EVERY_MINUTE, make_job, make_viewer

BACKLOG = 4 * BATCH_SIZE + 7
RUNNING = threading.Event()


@pytest.fixture
def due_at(engine: Engine) -> datetime:
    """Thousands of jobs that were due a moment ago, at an instant that their rule names only once a year."""
    due_at = datetime.now(UTC).replace(microsecond=0)
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session), schedule=EVERY_MINUTE, accounts=0, next_run=due_at)
        columns = "user_id, name, login_url, billing_url, is_scheduled, schedule_type, schedule_config, next_run"
        session.execute(
            text(
                f"INSERT INTO import_sessions ({columns}) SELECT {columns} FROM import_sessions, "  # noqa: S608
                "generate_series(2, :count) WHERE id = :id"
            ),
            {"count": BACKLOG, "id": job.id},
        )
        config = f'{{"cron_expression": "0 0 1 {(due_at - timedelta(days=40)).month} *"}}'
        session.execute(text("UPDATE import_sessions SET schedule_config = CAST(:c AS jsonb)"), {"c": config})
    return due_at


def test_backlog_is_fired_whole_and_each_occurrence_once(engine: Engine, due_at: datetime) -> None:
    assert fire_backlog(engine, RUNNING) == FirePass(due=BACKLOG, queued=BACKLOG)
    with engine.connect() as connection:
        counts = "SELECT count(*), count(DISTINCT session_id), min(scheduled_for), max(scheduled_for) FROM import_runs"
        assert connection.execute(text(counts)).one() == (BACKLOG, BACKLOG, due_at, due_at)
        left = "SELECT count(*) FROM import_sessions WHERE next_run <= :at OR status <> 'queued'"
        assert connection.scalar(text(left), {"at": due_at}) == 0
    assert fire_backlog(engine, RUNNING) == FirePass(due=0, queued=0)


@pytest.mark.usefixtures("due_at")
def test_backlog_takes_two_lanes(engine: Engine) -> None:
    """Each lane's first batch waits in its transaction until the other lane has one too."""
    both = threading.Barrier(2)
    seen: set[int] = set()

    def meet(connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "INSERT INTO import_runs" in statement and threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            both.wait(20)

    event.listen(engine, "before_cursor_execute", meet)
    assert fire_backlog(engine, RUNNING).due == BACKLOG
    assert len(seen) == 2


@pytest.mark.usefixtures("due_at")
def test_lane_that_fails_is_heard_and_what_it_held_is_still_due(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN IF (SELECT count(*) FROM import_runs) > 1000 THEN RAISE 'disk full'; END IF; "
                "RETURN NULL; END $$"
            )
        )
        connection.execute(
            text("CREATE TRIGGER refuse AFTER INSERT ON import_runs FOR EACH STATEMENT EXECUTE FUNCTION refuse()")
        )
    with pytest.raises(DBAPIError, match="disk full"):
        fire_backlog(engine, RUNNING)
    with engine.begin() as connection:
        fired = connection.scalar(text("SELECT count(*) FROM import_runs"))
        assert BATCH_SIZE <= fired < BACKLOG
        connection.execute(text("DROP TRIGGER refuse ON import_runs"))
    assert fire_backlog(engine, RUNNING).due == BACKLOG - fired


@pytest.mark.usefixtures("due_at")
def test_stop_ends_the_firing_after_the_batches_under_way(engine: Engine) -> None:
    stopping = threading.Event()
    stopping.set()
    assert fire_backlog(engine, stopping) == FirePass(due=BATCH_SIZE, queued=BATCH_SIZE)


@pytest.mark.usefixtures("due_at")
def test_rehearsal_runs_a_batch_s_statements_on_both_lanes_connections_and_fires_nothing(engine: Engine) -> None:
    said: dict[int, list[str]] = {}

    def note(connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        pid = connection.connection.dbapi_connection.info.backend_pid  # pyright: ignore[reportOptionalMemberAccess]
        said.setdefault(pid, []).append(" ".join(statement.split()[:3]))

    event.listen(engine, "before_cursor_execute", note)
    rehearse(engine)
    rehearsed = {pid: list(statements) for pid, statements in said.items()}
    assert fire_backlog(engine, RUNNING) == FirePass(due=BACKLOG, queued=BACKLOG)
    batch = ["SELECT s.id, s.user_id,", "INSERT INTO import_runs", "UPDATE import_sessions AS"]
    assert list(rehearsed.values()) == [batch, batch]
    assert set(said) == set(rehearsed), "a lane fired on another connection"
