"""Jobs of an earlier system: names, portals, states and schedules."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from migrations.adoption.old_tables import OldTables
from migrations.adoption.schedule_texts import unwrap, with_numbers
from portal_import.url_templates import InvalidUrlError, portal_host
from recurrence import InvalidScheduleError, next_occurrence, parse_rule

TIME_ZONE = "UTC"
SCHEDULE_TYPES = ("daily", "weekly", "monthly", "custom")


def fill_jobs(connection: Connection, old: OldTables) -> None:
    """Fill in what the earlier system did not know. Accounts are not among it: their CSV is uploaded anew."""
    jobs = connection.execute(
        text("SELECT id, user_id, name, login_url, created_at FROM import_sessions ORDER BY created_at, id")
    ).all()
    _link_portals(connection, jobs)
    _name_jobs(connection, jobs)
    _map_states(connection, has_results="import_results" in old)
    if "updated_at" in old["import_sessions"].columns:
        connection.execute(text("UPDATE import_sessions SET updated_at = created_at WHERE updated_at IS NULL"))
    else:
        connection.execute(text("UPDATE import_sessions SET updated_at = created_at"))
    connection.execute(text("UPDATE import_sessions SET is_scheduled = false WHERE is_scheduled IS NULL"))
    _check_schedules(connection)


def login_host(login_url: str) -> str | None:
    """The portal's host, None when the address cannot be used as it is."""
    try:
        return portal_host(login_url)
    except InvalidUrlError:
        return None


def _link_portals(connection: Connection, jobs: Sequence[Row[Any]]) -> None:
    """One portal per login host. Whoever made the first job for it has used it, so is noted as authorised."""
    portals: dict[str, int] = {}
    for job in jobs:
        host = login_host(job.login_url)
        if host is None:
            continue
        if host not in portals:
            portals[host] = connection.execute(
                text(
                    "INSERT INTO portals (host, authorised_by, authorised_at) VALUES (:host, :user, :at) RETURNING id"
                ),
                {"host": host, "user": job.user_id, "at": job.created_at},
            ).scalar_one()
        connection.execute(
            text("UPDATE import_sessions SET portal_id = :portal WHERE id = :id"),
            {"portal": portals[host], "id": job.id},
        )


def _name_jobs(connection: Connection, jobs: Sequence[Row[Any]]) -> None:
    """`portal.example 2026-03-01`, with a number from the second of a day on."""
    taken = {job.name for job in jobs}
    for job in jobs:
        if job.name is not None and job.name.strip():
            continue
        base = f"{login_host(job.login_url) or 'Import'} {job.created_at:%Y-%m-%d}"
        name, number = base, 2
        while name in taken:
            name, number = f"{base} ({number})", number + 1
        taken.add(name)
        connection.execute(text("UPDATE import_sessions SET name = :name WHERE id = :id"), {"name": name, "id": job.id})


def _map_states(connection: Connection, *, has_results: bool) -> None:
    """The earlier words in ours; nothing runs any more, so what was under way has failed or never began."""
    results = "EXISTS (SELECT 1 FROM import_results r WHERE r.session_id = s.id)" if has_results else "false"
    connection.execute(
        text(rf"""
            UPDATE import_sessions s SET status = CASE
                WHEN w.word IN ('success', 'successful', 'succeeded', 'complete', 'completed', 'done', 'finished')
                    THEN 'completed'
                WHEN w.word LIKE 'partial%' THEN 'partial'
                WHEN w.word IN ('failed', 'failure', 'error', 'errored') THEN 'failed'
                WHEN w.word IN ('stopped', 'cancelled', 'canceled', 'aborted') THEN 'stopped'
                WHEN w.word IN ('timed_out', 'timeout') THEN 'timed_out'
                WHEN w.word IN ('queued', 'processing', 'running', 'in_progress', 'started') AND {results} THEN 'failed'
                ELSE 'idle' END
            FROM (SELECT id, regexp_replace(lower(btrim(status)), '[\s-]+', '_', 'g') AS word FROM import_sessions) w
            WHERE w.id = s.id
        """)  # noqa: S608
    )


def _check_schedules(connection: Connection) -> None:
    """Keep the schedules that still mean something; switch the others off and note why."""
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    jobs = connection.execute(
        text(
            "SELECT id, user_id, is_scheduled, schedule_type, schedule_config, next_run FROM import_sessions"
            " WHERE is_scheduled OR schedule_type IS NOT NULL OR schedule_config IS NOT NULL ORDER BY id"
        )
    ).all()
    for job in jobs:
        config = unwrap(job.schedule_config)
        word = (job.schedule_type or "").strip().lower()
        schedule: dict[str, Any] = {
            "is_scheduled": job.is_scheduled,
            "schedule_type": word if word in SCHEDULE_TYPES else None,
            "schedule_config": _stored(config),
            "next_run": job.next_run,
        }
        try:
            rule = parse_rule(word, with_numbers(config), TIME_ZONE)
        except InvalidScheduleError as error:
            if job.is_scheduled or (word and word not in SCHEDULE_TYPES):
                schedule |= {"is_scheduled": False, "next_run": None}
                _note_unusable(connection, job, str(error))
        else:
            schedule["schedule_config"] = with_numbers(config)
            if job.is_scheduled and job.next_run is None:
                schedule["next_run"] = next_occurrence(rule, now)
        _store_schedule(connection, job.id, schedule)


def _stored(config: Any) -> Any:
    """A config is an object; what else was found is kept inside one."""
    return config if config is None or isinstance(config, dict) else {"earlier_value": config}


def _store_schedule(connection: Connection, job_id: str, schedule: dict[str, Any]) -> None:
    config = schedule["schedule_config"]
    connection.execute(
        text(
            "UPDATE import_sessions SET is_scheduled = :is_scheduled, schedule_type = :schedule_type,"
            " schedule_config = CAST(:schedule_config AS jsonb), next_run = :next_run WHERE id = :id"
        ),
        schedule | {"id": job_id, "schedule_config": None if config is None else json.dumps(config)},
    )


def _note_unusable(connection: Connection, job: Row[Any], reason: str) -> None:
    before = {
        "is_scheduled": job.is_scheduled,
        "schedule_type": job.schedule_type,
        "schedule_config": job.schedule_config,
        "next_run": job.next_run.isoformat() if job.next_run else None,
    }
    connection.execute(
        text(
            "INSERT INTO audit_log (action, subject, before, after) VALUES ('schedule switched off', :subject,"
            " CAST(:before AS jsonb), CAST(:after AS jsonb))"
        ),
        {
            "subject": f"job {job.id}",
            "before": json.dumps(before),
            "after": json.dumps({"is_scheduled": False, "reason": reason}),
        },
    )
