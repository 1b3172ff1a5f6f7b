"""Claiming reads a few rows of a long queue, by its indexes, whatever the planner knows of the queue."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session

from db.claiming import claim_runs, expire_runs, get_earliest_run_after
from db.engine import transaction
from db.models import RunStatus
from db.queue import describe_waiting
from tests.claimed_runs import LEASE
from tests.factories import NOW, make_job, make_portal, make_run, make_viewer

QUEUED = 20_000
READ_AT_MOST = 2_000
FIRST_COLUMNS = {
    "ix_import_runs_turns": "owner_id",
    "ix_import_runs_queued": "session_id",
    "ix_import_runs_delayed": "run_after",
    "ix_import_runs_start_by": "start_by",
    "pk_import_runs": "id",
}
RUNNING_INDEXES = {"uq_import_runs_running", "ix_import_runs_leases"}  # small, and may be read through


@pytest.fixture(params=["before it is analysed", "analysed"])
def long_queue(engine: Engine, request: pytest.FixtureRequest) -> Engine:
    """Thousands of runs of one owner at a portal that is full, as many at one that is not, and one of another owner."""
    with transaction(engine) as session:
        viewer = make_viewer(session, "busy")
        full = make_portal(session, "full.example", max_concurrent_accounts=1)
        free = make_portal(session, "free.example")
        make_run(session, make_job(session, viewer, portal_id=full.id), status=RunStatus.RUNNING)
        session.execute(text("ANALYZE"))  # of an empty queue: the planner expects nothing of it
        for portal in (full, free):
            add_many(session, viewer.user_id, portal.id)
        make_run(session, make_job(session, make_viewer(session, "other")))
    if request.param == "analysed":
        with transaction(engine) as session:
            session.execute(text("ANALYZE"))
    return engine


def add_many(session: Session, user_id: str, portal_id: int) -> None:
    session.execute(
        text("""
            WITH jobs AS (
                INSERT INTO import_sessions (id, user_id, name, login_url, billing_url, portal_id, status)
                SELECT gen_random_uuid()::text, :user_id, 'j', 'https://x', 'https://x', :portal_id, 'queued'
                FROM generate_series(1, :count) RETURNING id
            )
            INSERT INTO import_runs
                (session_id, trigger, scheduled_for, queued_at, run_after, owner_id, portal_id, start_by)
            SELECT id, 'schedule', :now, :now, :now, :user_id, :portal_id,
                   CAST(:now AS timestamptz) + interval '1 hour'
            FROM jobs
        """),
        {"user_id": user_id, "portal_id": portal_id, "count": QUEUED, "now": NOW},
    )


def explain(engine: Engine, work: Callable[[Session], object]) -> list[dict[str, Any]]:
    """The plan nodes that read runs in each query of the work, with what they really read."""
    nodes: list[dict[str, Any]] = []

    def note(connection: Connection, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        is_query = statement.lstrip().startswith(("SELECT", "WITH")) and "UPDATE import_runs" not in statement
        if is_query and "import_runs" in statement:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            (plans,) = cursor.fetchone()
            plan = plans if isinstance(plans, list) else json.loads(plans)
            nodes.extend(with_index(n) for n in walk(plan[0]["Plan"]) if n.get("Relation Name") == "import_runs")

    event.listen(engine, "before_cursor_execute", note)
    try:
        with transaction(engine) as session:
            work(session)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return nodes


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from walk(child)


def with_index(node: dict[str, Any]) -> dict[str, Any]:
    """A bitmap's index is told by the node below."""
    return node | node["Plans"][0] if node["Node Type"] == "Bitmap Heap Scan" else node


def rows_read(node: dict[str, Any]) -> float:
    return (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]


def assert_cheap(nodes: list[dict[str, Any]]) -> None:
    assert nodes
    assert [node for node in nodes if not is_probe(node)] == []
    assert sum(rows_read(node) for node in nodes) <= READ_AT_MOST


def is_probe(node: dict[str, Any]) -> bool:
    """Whether it enters an index where it wants to be, by its first column, or takes the first row and no more."""
    if node["Actual Loops"] == 0 or node.get("Index Name") in RUNNING_INDEXES:
        return True
    first_column = FIRST_COLUMNS.get(node.get("Index Name", ""))
    if first_column is None:
        return False
    return f"{first_column} " in node.get("Index Cond", "").replace(",", " ") or rows_read(node) <= 1


def test_claim_reads_few_runs_of_a_long_queue(long_queue: Engine) -> None:
    taken: list[int] = []

    def work(session: Session) -> None:
        done = claim_runs(session, NOW, worker="w", slots=3, lease=LEASE)
        taken.extend(claimed.run_id for claimed in done.claims)

    assert_cheap(explain(long_queue, work))
    assert len(taken) == 3


def test_time_that_a_run_waits_for_is_read_off_an_index(long_queue: Engine) -> None:
    assert_cheap(explain(long_queue, lambda session: get_earliest_run_after(session, NOW)))


def test_closed_start_windows_are_read_off_an_index(long_queue: Engine) -> None:
    assert_cheap(explain(long_queue, lambda session: expire_runs(session, NOW)))


def test_place_in_line_is_told_without_reading_the_queue(long_queue: Engine) -> None:
    with transaction(long_queue) as session:
        run = make_run(session, make_job(session, make_viewer(session, "third")))
    nodes = explain(long_queue, lambda session: describe_waiting(session, [run], NOW))
    assert_cheap(nodes)
