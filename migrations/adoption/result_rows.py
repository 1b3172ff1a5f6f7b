"""Results of an earlier system, which knew no runs: those of a session become one run of its job."""

from sqlalchemy import Connection, text

from migrations.adoption.old_tables import OldTables

REASON = "Brought over from the earlier system"


def fill_results(connection: Connection, old: OldTables) -> None:
    """Map the words, then make the run of each session, its results' run and order, and the job's last run."""
    _ = old
    for statement in (_WORDS, _RUNS, _RESULTS, _JOBS):
        connection.execute(text(statement), {"reason": REASON} if statement is _RUNS else {})


# The earlier word says more than "failed" where there is no error text beside it.
_WORDS = r"""
    UPDATE import_results r
    SET status = m.status,
        error = CASE WHEN m.status = 'failed' AND m.is_unknown AND coalesce(btrim(r.error), '') = ''
                     THEN nullif(btrim(r.status), '') ELSE r.error END,
        file_url = nullif(btrim(r.file_url), ''),
        retry_attempts = coalesce(r.retry_attempts, 0)
    FROM (
        SELECT id, word NOT IN ('failed', 'failure', 'error') AS is_unknown,
               CASE WHEN word IN ('success', 'successful', 'succeeded', 'complete', 'completed', 'ok', 'done')
                        THEN 'success'
                    WHEN word LIKE '%credential%' OR word IN ('login_failed', 'invalid_login', 'unauthorized',
                         'unauthorised', 'wrong_password', 'invalid_password') THEN 'wrong_credentials'
                    WHEN word IN ('no_bill', 'no_bills', 'no_bill(s)', 'no_bills_found', 'no_bill_found', 'not_found')
                        THEN 'no_bills'
                    ELSE 'failed' END AS status
        FROM (SELECT id, coalesce(regexp_replace(lower(btrim(status)), '[\s-]+', '_', 'g'), 'failed') AS word
              FROM import_results) w
    ) m
    WHERE m.id = r.id
"""
_RUNS = """
    INSERT INTO import_runs (session_id, trigger, status, reason, queued_at, run_after, started_at, finished_at,
                             accounts_total, accounts_done, accounts_succeeded)
    SELECT session_id, 'backfill',
           CASE succeeded WHEN total THEN 'completed' WHEN 0 THEN 'failed' ELSE 'partial' END,
           :reason, first_at, first_at, first_at, last_at, total, total, succeeded
    FROM (SELECT session_id, min(created_at) AS first_at, max(created_at) AS last_at, count(*) AS total,
                 count(*) FILTER (WHERE status IN ('success', 'no_bills')) AS succeeded
          FROM import_results GROUP BY session_id) s
    ORDER BY last_at, session_id
"""
_RESULTS = """
    UPDATE import_results r
    SET run_id = n.run_id, row_number = n.place, finished_at = r.created_at,
        bills_new = (r.file_url IS NOT NULL)::integer, bills_seen = (r.file_url IS NOT NULL)::integer
    FROM (SELECT i.id, u.id AS run_id,
                 row_number() OVER (PARTITION BY i.session_id ORDER BY i.created_at, i.id) AS place
          FROM import_results i JOIN import_runs u ON u.session_id = i.session_id) n
    WHERE n.id = r.id
"""
_JOBS = """
    UPDATE import_sessions s
    SET last_outcome = r.status, last_run_id = r.id, last_run_at = r.started_at, results_count = r.accounts_total
    FROM import_runs r WHERE r.session_id = s.id
"""
