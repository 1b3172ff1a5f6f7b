"""What runs all the time and what pages ask is read by index, and in the index's order, however much there is.

The plans are those of the statements that the product sends, on tables of some size with fresh statistics.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session

import db.job_lists
from bench.growth_rows import add_jobs, add_people, job_id
from db.bills import list_run_bills
from db.claiming import expire_runs
from db.claims import recover_runs
from db.daily_figures import count_ended_runs, list_days, list_job_days
from db.engine import create_database_engine, normalise_url
from db.firing import fire_due_jobs, get_earliest_next_run
from db.instances import get_scheduler_health
from db.job_lists import JobCursor, count_jobs_by_status, list_jobs
from db.ledger import draw_up_ledger
from db.models import Role, Run
from db.results import list_results
from db.retention import purge_log, purge_runs
from db.run_log import list_log_lines, list_newest_log_lines
from db.runs import list_runs
from db.viewers import Viewer
from tests.postgres import TestServer

JOBS = 4_000
ONE = job_id(JOBS // 2)
RUN = JOBS * 10 // 2  # has a result and a line of log
BUSY = job_id(1)  # has several pages of runs
FURTHER_ROWS = (
    """
    INSERT INTO import_runs (session_id, trigger, status, queued_at, started_at, finished_at, is_counted)
    SELECT :busy, 'manual', 'completed', now(), now(), now(), true FROM generate_series(1, 400)
    """,
    """
    INSERT INTO bills (session_id, username, bill_key, first_seen_run, last_seen_run)
    SELECT session_id, 'account', id, id, id FROM import_runs WHERE id % 10 = 0
    """,
)
LARGE = {"import_sessions", "import_runs", "import_results", "run_log", "daily_figures", "schedule_periods", "bills"}
SORTS = {"Sort", "Incremental Sort"}
ADMIN = Viewer("u0", "u0", "User 0", Role.ADMIN)
OPERATOR = Viewer("u1", "u1", "User 1", Role.OPERATOR)
NOW = datetime.now(UTC)
CURSOR = JobCursor(NOW - timedelta(days=3 * 365) + timedelta(seconds=JOBS // 2), ONE)

Work = Callable[[Session], object]


@dataclass
class Plan:
    """How Postgres goes about a statement."""

    nodes: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])

    def add(self, node: Mapping[str, Any]) -> None:
        self.nodes.append(node)
        for child in node.get("Plans", ()):
            self.add(child)

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}

    @property
    def scanned(self) -> set[str]:
        """Large tables that are read from end to end."""
        return {n["Relation Name"] for n in self.nodes if n["Node Type"] == "Seq Scan"} & LARGE

    @property
    def kinds(self) -> set[str]:
        return {node["Node Type"] for node in self.nodes}


@pytest.fixture(autouse=True)
def short_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pages look through is to the jobs there are here as it is to a million in earnest."""
    monkeypatch.setattr(db.job_lists, "LOOKED_THROUGH", 40)


@pytest.fixture(scope="module")
def large(postgres: TestServer) -> Iterator[Engine]:
    """A database with 4,000 jobs of forty owners and 40,400 runs, of which one job has 400; nothing is due."""
    address = postgres.create(postgres.template)
    engine = create_database_engine(normalise_url(address), application="tests")
    add_people(engine)
    add_jobs(engine, 1, JOBS, owners=40)
    with engine.begin() as connection:
        for statement in FURTHER_ROWS:
            connection.execute(text(statement), {"busy": BUSY})
        connection.execute(text("ANALYZE"))
    yield engine
    engine.dispose()
    postgres.finish(address)


def plans_of(connection: Connection, work: Work) -> list[Plan]:
    """The plans of the statements that the work sends on the connection, in their order."""
    sent: list[tuple[str, Any]] = []

    def note(_c: object, _u: object, statement: str, parameters: Any, _x: object, _many: bool) -> None:
        sent.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    with Session(connection, join_transaction_mode="rollback_only") as session:
        work(session)
        session.flush()
    event.remove(connection, "before_cursor_execute", note)
    plans: list[Plan] = []
    for statement, parameters in sent:
        answer = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
        plans.append(Plan())
        plans[-1].add(answer[0]["Plan"])
    return plans


@contextmanager
def undone(engine: Engine) -> Iterator[Connection]:
    """A connection whose work is undone at the end."""
    with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


def the_plan(engine: Engine, work: Work, *indexes: str) -> Plan:
    """The plan of the one statement of the work that uses these indexes; none of its statements reads a whole table."""
    with undone(engine) as connection:
        plans = plans_of(connection, work)
    for plan in plans:
        assert plan.scanned == set(), plan.nodes
    using = [plan for plan in plans if plan.indexes >= set(indexes)]
    assert using, f"no statement uses {indexes}: {[plan.nodes for plan in plans]}"
    return using[0]


IN_ORDER: dict[str, tuple[Work, Sequence[str]]] = {
    "fire, when to wake next": (get_earliest_next_run, ["ix_import_sessions_due"]),
    "recover": (lambda s: recover_runs(s, NOW), ["ix_import_runs_leases"]),
    "count": (count_ended_runs, ["ix_import_runs_uncounted"]),
    "purge of runs": (lambda s: purge_runs(s, before=NOW - timedelta(days=365)), ["pk_import_runs"]),
    "purge of the log": (lambda s: purge_log(s, before=NOW - timedelta(days=365)), ["pk_run_log"]),
    "overdue jobs": (lambda s: get_scheduler_health(s, NOW), ["ix_import_sessions_due"]),
    "all jobs": (lambda s: list_jobs(s, ADMIN), ["ix_import_sessions_created_at"]),
    "all jobs, further on": (lambda s: list_jobs(s, ADMIN, cursor=CURSOR), ["ix_import_sessions_created_at"]),
    "all jobs, some status": (lambda s: list_jobs(s, ADMIN, status="failed"), ["ix_import_sessions_created_at"]),
    "all jobs, a search": (lambda s: list_jobs(s, ADMIN, q="nowhere"), ["ix_import_sessions_created_at"]),
    "own jobs, a search": (
        lambda s: list_jobs(s, OPERATOR, q="nowhere"),
        ["ix_import_sessions_user_id_created_at"],
    ),
    "own jobs": (lambda s: list_jobs(s, OPERATOR), ["ix_import_sessions_user_id_created_at"]),
    "own jobs, further on": (
        lambda s: list_jobs(s, OPERATOR, cursor=CURSOR),
        ["ix_import_sessions_user_id_created_at"],
    ),
    "runs of a job": (lambda s: list_runs(s, ADMIN, BUSY), ["ix_import_runs_session_id_id"]),
    "runs of a job, further on": (
        lambda s: list_runs(s, ADMIN, BUSY, before_id=RUN * 2),
        ["ix_import_runs_session_id_id"],
    ),
    "log": (lambda s: list_log_lines(s, RUN), ["ix_run_log_run_id_id"]),
    "newest lines of the log": (lambda s: list_newest_log_lines(s, RUN), ["ix_run_log_run_id_id"]),
    "results": (lambda s: list_results(s, ADMIN, RUN), ["ix_import_results_run_id_row_number"]),
    "results, further on": (
        lambda s: list_results(s, ADMIN, RUN, after=(2, "x")),
        ["ix_import_results_run_id_row_number"],
    ),
}
BY_INDEX: dict[str, tuple[Work, Sequence[str]]] = {
    "fire, what is due": (lambda s: fire_due_jobs(s, NOW), ["ix_import_sessions_due"]),
    "all jobs, running ones": (lambda s: list_jobs(s, ADMIN, status="running"), ["pk_import_sessions"]),
    "all jobs, queued ones": (lambda s: list_jobs(s, ADMIN, status="queued"), ["pk_import_sessions"]),
    "queued runs that waited too long": (lambda s: expire_runs(s, NOW), []),
    "all jobs by status": (lambda s: count_jobs_by_status(s, ADMIN), ["ix_import_sessions_created_at"]),
    "own jobs by status": (
        lambda s: count_jobs_by_status(s, OPERATOR),
        ["ix_import_sessions_user_id_created_at"],
    ),
    "figures of a job": (
        lambda s: list_job_days(s, ADMIN, ONE, until=NOW.date(), days=30),
        ["pk_daily_figures"],
    ),
    "figures of the owner's jobs": (lambda s: list_days(s, OPERATOR, until=NOW.date(), days=30), []),
    "ledger": (
        lambda s: draw_up_ledger(s, ADMIN, ONE, starts_at=NOW - timedelta(days=3), ends_at=NOW, now=NOW),
        ["ix_schedule_periods_session_id_starts_at"],
    ),
    "ledger, the rows of a part of the history": (
        lambda s: draw_up_ledger(s, ADMIN, ONE, starts_at=NOW - timedelta(days=3), ends_at=NOW, now=NOW),
        ["uq_import_runs_occurrence", "ix_import_runs_scheduled_until"],
    ),
    "ledger, retries of a part of the history": (
        lambda s: draw_up_ledger(s, ADMIN, ONE, starts_at=NOW - timedelta(days=3), ends_at=NOW, now=NOW),
        ["uq_import_runs_occurrence", "ix_import_runs_parent_run_id"],
    ),
    "bills of a run": (lambda s: list_run_bills(s, ADMIN, RUN), []),
    "a run": (lambda s: s.get_one(Run, RUN), ["pk_import_runs"]),
}


@pytest.mark.parametrize("name", IN_ORDER)
def test_lists_and_passes_follow_an_index_in_its_order(large: Engine, name: str) -> None:
    work, indexes = IN_ORDER[name]
    plan = the_plan(large, work, *indexes)
    assert plan.kinds.isdisjoint(SORTS), plan.nodes


@pytest.mark.parametrize("name", BY_INDEX)
def test_lookups_use_an_index(large: Engine, name: str) -> None:
    work, indexes = BY_INDEX[name]
    the_plan(large, work, *indexes)


def test_a_backlog_is_fired_in_the_order_of_the_index(large: Engine) -> None:
    with undone(large) as connection:
        connection.execute(text("UPDATE import_sessions SET next_run = now() - random() * interval '1 hour'"))
        connection.execute(text("ANALYZE import_sessions"))
        plans = plans_of(connection, lambda session: fire_due_jobs(session, datetime.now(UTC), limit=20))
    backlog = next(plan for plan in plans if "ix_import_sessions_due" in plan.indexes)
    assert backlog.kinds.isdisjoint(SORTS), backlog.nodes
    assert backlog.scanned == set()
