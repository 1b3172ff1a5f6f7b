"""Jobs and history by the million for `bench.growth`, written by the database as the services would leave them."""

# ruff: noqa: S608

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from uuid import UUID

from sqlalchemy import Connection, Engine, text

OWNERS = 100
PORTALS = 100
RUNS_A_JOB = 10
RESULTS_EVERY = 10  # one run in so many has a result and a log line of its own
TABLES = ("import_sessions", "schedule_periods", "import_runs", "import_results", "run_log", "daily_figures")


def add_people(engine: Engine) -> None:
    """The owners `u0` to `u99`, and as many portals."""
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO users (id, username, name, password_hash, role)
                SELECT 'u' || n, 'u' || n, 'User ' || n, '!', 'operator' FROM generate_series(0, :last) AS n
            """),
            {"last": OWNERS - 1},
        )
        connection.execute(
            text("""
                INSERT INTO portals (host, authorised_by, authorised_at)
                SELECT 'portal' || n, 'u0', now() FROM generate_series(1, :count) AS n
            """),
            {"count": PORTALS},
        )


def add_jobs(engine: Engine, first: int, last: int, *, owners: int = OWNERS) -> None:
    """The jobs with these numbers, none of them due, and ten days of history for each; the owners have them in turn."""
    with engine.begin() as connection:
        # The foreign keys hold by construction; checking each of them takes longer than all the rest.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        with _without_indexes(connection):
            for statement in _STATEMENTS:
                connection.execute(
                    text(statement),
                    {"first": first, "last": last, "runs": RUNS_A_JOB, "every": RESULTS_EVERY, "portals": PORTALS}
                    | {"owners": owners},
                )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
        connection.execute(text("CHECKPOINT"))


@contextmanager
def _without_indexes(connection: Connection) -> Iterator[None]:
    """Indexes that no constraint needs are built once the rows are there."""
    found = connection.execute(
        text("""
            SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index AS i
            WHERE i.indrelid = ANY (CAST(:tables AS regclass[]))
              AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid)
        """),
        {"tables": list(TABLES)},
    ).all()
    for name, _ in found:
        connection.execute(text(f"DROP INDEX {name}"))
    yield
    connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
    for _, definition in found:
        connection.execute(text(definition))


_JOB_ID = "CAST(CAST(md5(CAST({n} AS text)) AS uuid) AS text)"
_N = _JOB_ID.format(n="n")
_STATEMENTS = (
    f"""
    INSERT INTO import_sessions (id, user_id, name, login_url, billing_url, portal_id, status, last_outcome,
        last_run_at, is_scheduled, schedule_type, schedule_config, next_run, last_scheduled_run, accounts_count,
        created_at, updated_at)
    SELECT {_N}, 'u' || n % :owners, 'Water bills ' || n, 'https://portal' || n % :portals || '.example/login',
        'https://portal' || n % :portals || '.example/bills', 1 + n % :portals,
        CASE n % 20 WHEN 0 THEN 'failed' WHEN 1 THEN 'partial' ELSE 'completed' END, 'completed', now(),
        true, 'daily', '{{"hour": 2, "minute": 0}}', now() + interval '1 day' + n % 86400 * interval '1 second',
        now() - interval '1 day', 20, now() - interval '3 years' + n * interval '1 second', now()
    FROM generate_series(:first, :last) AS n
    """,
    f"""
    INSERT INTO schedule_periods (session_id, starts_at, schedule_type, schedule_config, time_zone)
    SELECT {_N}, now() - interval '1 year', 'daily', '{{"hour": 2, "minute": 0}}', 'UTC'
    FROM generate_series(:first, :last) AS n
    """,
    # Day after day, as time would have it: a job's runs lie far apart.
    f"""
    INSERT INTO import_runs (session_id, trigger, scheduled_for, status, queued_at, run_after, started_at, finished_at,
        worker, accounts_total, accounts_done, accounts_succeeded, lateness_seconds, is_counted)
    SELECT {_N}, 'schedule', at, 'completed', at, at, at, at + interval '1 minute', 'a worker', 20, 20, 20, 0.01, true
    FROM generate_series(1, :runs) AS day, generate_series(:first, :last) AS n,
        LATERAL (SELECT date_trunc('day', now()) + (day - :runs - 1) * interval '1 day' + interval '2 h' AS at) AS due
    """,
    """
    INSERT INTO import_results (run_id, session_id, username, row_number, status, bills_new, bills_seen, finished_at)
    SELECT id, session_id, 'account', 2, 'success', 1, 1, finished_at FROM import_runs
    WHERE id > (SELECT coalesce(max(run_id), 0) FROM import_results) AND id % :every = 0
    """,
    """
    INSERT INTO run_log (run_id, at, message)
    SELECT id, finished_at, 'run completed' FROM import_runs
    WHERE id > (SELECT coalesce(max(run_id), 0) FROM run_log) AND id % :every = 0
    """,
    f"""
    INSERT INTO daily_figures (session_id, day, completed, accounts_succeeded, started, lateness_seconds)
    SELECT {_N}, current_date - day, 1, 20, 1, 0.01
    FROM generate_series(:first, :last) AS n, generate_series(1, :runs) AS day ORDER BY 1, 2
    """,
    """
    INSERT INTO daily_owner_figures (user_id, day, completed, accounts_succeeded, started, lateness_seconds)
    SELECT 'u' || n % :owners, current_date - day, count(*), 20 * count(*), count(*), 0.01 * count(*)
    FROM generate_series(:first, :last) AS n, generate_series(1, :runs) AS day GROUP BY 1, 2
    ON CONFLICT (user_id, day) DO UPDATE SET completed = daily_owner_figures.completed + excluded.completed
    """,
    f"""
    UPDATE import_sessions AS s SET last_run_id = r.id
    FROM import_runs AS r, generate_series(:first, :last) AS n
    WHERE s.id = {_N} AND r.session_id = s.id AND r.scheduled_for > now() - interval '2 days'
    """,
)


def job_id(number: int) -> str:
    """The id of the job with that number."""
    return str(UUID(md5(str(number).encode()).hexdigest()))  # noqa: S324 - a name, not a secret
