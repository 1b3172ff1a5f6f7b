"""How many due schedules a second are fired, against APScheduler's SQL job store and a bare loop, in one run.

All on one embedded Postgres with fsync on. Punctual is a real scheduler_service with `PUNCTUAL_SLOTS=0`: it is
timed from the instant at which 10,000 jobs are due to the commit of the last one, which the wake-ups tell.
The bare loop does the least that any such program must: lock a batch, insert, advance, notify, commit; once over
Punctual's own tables, with all their keys and constraints, and once over two narrow tables without them.
`python -m bench.fire`.
"""

import logging
import select
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import psycopg2
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import Engine, text

from bench.figures import Figure, all_hold, print_figures
from bench.postgres import fresh_database, fresh_server
from bench.processes import punctual_process
from db.engine import transaction
from db.instances import register_instance
from settings import VERSION

JOBS = 10_000
ROUNDS = 5
PEER_JOBS = 2_000
BATCH = 500
AHEAD = timedelta(seconds=5)  # the service starts meanwhile
DEADLINE_SECONDS = 120

MIN_PER_SECOND = 20_000
MIN_PEER_RATIO = 15
MIN_BARE_RATIO = 0.6

NARROW = """
    CREATE TABLE narrow_jobs (id bigint PRIMARY KEY, rule text, next_run timestamptz, last_run timestamptz, paused_at
        timestamptz);
    CREATE INDEX ON narrow_jobs (next_run) WHERE paused_at IS NULL;
    CREATE TABLE narrow_runs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job_id bigint NOT NULL,
        scheduled_for timestamptz NOT NULL, status text NOT NULL DEFAULT 'queued',
        queued_at timestamptz NOT NULL DEFAULT now(), UNIQUE (job_id, scheduled_for));
    INSERT INTO narrow_jobs (id, rule) SELECT n, 'rule' || n % 72 FROM generate_series(1, :jobs) AS n
"""
# Mixed as in practice: 72 rules in three zones, 50 owners, 100 portals, every policy.
JOBS_SQL = """
    INSERT INTO users (id, username, name, password_hash)
        SELECT 'user' || n, 'user' || n, 'User', '!' FROM generate_series(1, 50) AS n;
    INSERT INTO portals (host, authorised_by, authorised_at)
        SELECT 'portal' || n || '.example', 'user1', now() FROM generate_series(1, 100) AS n;
    INSERT INTO import_sessions (user_id, name, login_url, billing_url, portal_id, is_scheduled, schedule_type,
            schedule_config, time_zone, overlap, catch_up, misfire_grace_seconds, accounts_count)
        SELECT 'user' || 1 + n % 50, 'Bills ' || n, 'https://portal.example/login', 'https://portal.example/bills',
               1 + n % 100, true, 'daily', jsonb_build_object('hour', n % 24, 'minute', 0),
               (ARRAY['UTC', 'Europe/London', 'America/New_York'])[1 + n % 3], (ARRAY['skip', 'queue'])[1 + n % 2],
               (ARRAY['latest', 'all', 'none'])[1 + n % 3], (ARRAY[NULL, 600, 86400])[1 + n % 3], 3
        FROM generate_series(1, :jobs) AS n;
    INSERT INTO schedule_periods (session_id, starts_at, schedule_type, schedule_config, time_zone)
        SELECT id, now(), schedule_type, schedule_config, time_zone FROM import_sessions
"""


def main() -> int:
    """Measure and print."""
    figures = measure()
    print_figures(figures)
    return 0 if all_hold(figures) else 1


def measure() -> list[Figure]:
    """The figures; medians of five rounds in which all take turns."""
    ours: list[float] = []
    same: list[float] = []
    narrow: list[float] = []
    with fresh_server() as home, fresh_database(home, "fire") as engine:
        with engine.begin() as connection:
            for statements in (JOBS_SQL, NARROW):
                connection.execute(text(statements), {"jobs": JOBS})
        with transaction(engine) as session:  # the first scheduler ever would aim all schedules anew
            register_instance(session, host="bench", pid=0, version=VERSION, slots=0, now=datetime.now(UTC))
        for _ in range(ROUNDS):
            ours.append(_time_service(engine, home))
            same.append(_time_bare_loop(engine, _OwnTables(engine)))
            narrow.append(_time_bare_loop(engine, _NarrowTables(engine)))
        peer = _time_apscheduler(engine)
    rate = statistics.median(ours)
    name = f"fire {JOBS:,} due jobs"
    peer_name = f"APScheduler {version('apscheduler')} SQL store"
    bare = statistics.median(same), statistics.median(narrow)
    return [
        Figure(name, "/s", rate, f">= {MIN_PER_SECOND:,}/s", rate >= MIN_PER_SECOND),
        _compared(name, rate, peer_name, peer, MIN_PEER_RATIO),
        _compared(name, rate, "bare SQL loop, same tables", bare[0], MIN_BARE_RATIO),
        _compared(name, rate, "bare SQL loop, two narrow tables", bare[1], MIN_BARE_RATIO),
    ]


def _compared(name: str, rate: float, peer: str, peer_rate: float, least: float) -> Figure:
    ratio = rate / peer_rate
    return Figure(name, "/s", rate, f">= {least:g}x", ratio >= least, {peer: peer_rate}, ratio)


def _time_service(engine: Engine, home: Path) -> float:
    due_at = datetime.now(UTC) + AHEAD
    _reset(engine, due_at)
    with _listening(engine) as listener, punctual_process(engine, home, "-m", "scheduler_service", slots=0):
        committed = 0
        last = due_at.timestamp()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while committed < JOBS / BATCH:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{committed} batches of {JOBS // BATCH} were fired in {DEADLINE_SECONDS} s")
            if select.select([listener], [], [], 1)[0]:
                listener.poll()
                last = time.time()
                committed += sum(n.payload == "claim" for n in listener.notifies)
                listener.notifies.clear()
    with engine.connect() as connection:
        fired = connection.scalar(text("SELECT count(DISTINCT session_id) FROM import_runs WHERE status = 'queued'"))
        assert fired == JOBS, f"{fired} jobs have a run"
    return JOBS / (last - due_at.timestamp())


@contextmanager
def _listening(engine: Engine) -> Iterator["psycopg2.extensions.connection"]:
    connection = psycopg2.connect(engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("LISTEN punctual")
        yield connection
    finally:
        connection.close()


def _reset(engine: Engine, due_at: datetime) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE import_runs, narrow_runs CASCADE"))
        for table in ("import_sessions", "narrow_jobs"):
            connection.execute(text(f"UPDATE {table} SET next_run = :at"), {"at": due_at})  # noqa: S608
        connection.execute(text("UPDATE import_sessions SET status = 'idle'"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("import_sessions", "import_runs", "narrow_jobs", "narrow_runs"):
            connection.execute(text(f"VACUUM ANALYZE {table}"))


class _OwnTables:
    """The bare loop's statements over Punctual's tables."""

    lock = """
        SELECT id, schedule_config::text, next_run FROM import_sessions
        WHERE is_scheduled AND paused_at IS NULL AND next_run <= now()
        ORDER BY next_run LIMIT %s FOR NO KEY UPDATE SKIP LOCKED"""
    insert = """
        INSERT INTO import_runs (session_id, scheduled_for, trigger, owner_id)
        SELECT v.id, v.at, 'schedule', '' FROM unnest(%s::text[], %s::timestamptz[]) AS v(id, at)
        ON CONFLICT DO NOTHING"""
    advance = """
        UPDATE import_sessions AS s SET next_run = v.next_run, last_scheduled_run = v.at, status = 'queued'
        FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS v(id, at, next_run) WHERE s.id = v.id"""

    def __init__(self, engine: Engine) -> None:
        _reset(engine, datetime.now(UTC))


class _NarrowTables:
    """The same over two narrow tables."""

    lock = """
        SELECT id, rule, next_run FROM narrow_jobs WHERE paused_at IS NULL AND next_run <= now()
        ORDER BY next_run LIMIT %s FOR NO KEY UPDATE SKIP LOCKED"""
    insert = """
        INSERT INTO narrow_runs (job_id, scheduled_for)
        SELECT v.id, v.at FROM unnest(%s::bigint[], %s::timestamptz[]) AS v(id, at) ON CONFLICT DO NOTHING"""
    advance = """
        UPDATE narrow_jobs AS j SET next_run = v.next_run, last_run = v.at
        FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[]) AS v(id, at, next_run) WHERE j.id = v.id"""

    def __init__(self, engine: Engine) -> None:
        _reset(engine, datetime.now(UTC))


def _time_bare_loop(engine: Engine, tables: "_OwnTables | _NarrowTables") -> float:
    connection = psycopg2.connect(engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
    following: dict[tuple[str, datetime], datetime] = {}
    fired = 0
    began = time.perf_counter()
    with connection.cursor() as cursor:
        while fired < JOBS:
            cursor.execute(tables.lock, (BATCH,))
            rows = cursor.fetchall()
            ids = [row[0] for row in rows]
            instants = [row[2] for row in rows]
            for _, rule, at in rows:
                if (rule, at) not in following:
                    following[rule, at] = at + timedelta(days=1)
            cursor.execute(tables.insert, (ids, instants))
            cursor.execute(tables.advance, (ids, instants, [following[rule, at] for _, rule, at in rows]))
            cursor.execute("NOTIFY bare")
            connection.commit()
            fired += len(rows)
    seconds = time.perf_counter() - began
    connection.close()
    return JOBS / seconds


_all_ran = threading.Event()
_ran: set[int] = set()


def _note_run(number: int) -> None:
    _ran.add(number)
    if len(_ran) == PEER_JOBS:
        _all_ran.set()


def _time_apscheduler(engine: Engine) -> float:
    """From the instant at which its jobs are due to the last one's call, in threads: it fires one by one."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    store = SQLAlchemyJobStore(engine=engine)
    scheduler = BackgroundScheduler(
        jobstores={"default": store}, executors={"default": ThreadPoolExecutor(8)}, timezone=UTC
    )
    scheduler.start(paused=True)
    due_at = datetime.now(UTC)
    trigger = CronTrigger.from_crontab("0 2 * * *", timezone="Europe/London")
    for number in range(PEER_JOBS):
        scheduler.add_job(
            _note_run, trigger, args=[number], next_run_time=due_at, misfire_grace_time=None, max_instances=1
        )
    began = time.perf_counter()
    scheduler.resume()
    if not _all_ran.wait(DEADLINE_SECONDS):
        raise TimeoutError(f"APScheduler ran {len(_ran)} of {PEER_JOBS} jobs in {DEADLINE_SECONDS} s")
    seconds = time.perf_counter() - began
    scheduler.shutdown()
    return PEER_JOBS / seconds


if __name__ == "__main__":
    sys.exit(main())
