"""Migrated tables are the models' tables, whole and in detail, and upgrading is safe to repeat and to race."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text

from db import migrate
from db.engine import normalise_url
from db.migrate import MigrationRefusedError, current_revision, head_revision, is_current, upgrade
from db.models import Base
from settings import PROJECT_ROOT
from tests.catalogue import constraints_and_indexes, differences_from_models, everything
from tests.old_system import fill
from tests.waiting import wait_until


def test_migrated_tables_are_those_of_the_models(engine: Engine) -> None:
    assert differences_from_models(engine) == []


def test_checks_and_partial_indexes_are_those_of_the_models(engine: Engine, empty_database_url: str) -> None:
    created = create_engine(normalise_url(empty_database_url))
    Base.metadata.create_all(created)
    expected = constraints_and_indexes(created)
    created.dispose()
    assert constraints_and_indexes(engine) == expected
    assert len(expected) > 60


def test_upgrade_names_what_it_applied_and_then_finds_nothing_to_do(empty_database_url: str) -> None:
    assert current_revision(empty_database_url) is None
    assert not is_current(empty_database_url)
    applied = upgrade(empty_database_url)
    assert applied[-1] == current_revision(empty_database_url) == head_revision()
    assert is_current(empty_database_url)
    assert upgrade(empty_database_url) == []


def test_upgrade_opens_a_period_for_each_schedule_in_force(empty_database_url: str) -> None:
    engine = create_engine(normalise_url(empty_database_url))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(PROJECT_ROOT / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "20261124_0200")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (id, username, name, password_hash) VALUES ('u', 'u', 'u', '!')"))
        connection.execute(
            text("""
                INSERT INTO import_sessions (id, user_id, name, login_url, billing_url, is_scheduled, paused_at,
                                             next_run, schedule_type, schedule_config, time_zone)
                SELECT id, 'u', id, 'l', 'b', is_scheduled, paused_at, next_run, 'daily',
                       '{"hour": 9, "minute": 0}', 'Europe/Berlin'
                FROM (VALUES ('waits', true, NULL::timestamptz, now() + interval '1 hour'),
                             ('overdue', true, NULL, now() - interval '1 hour'),
                             ('paused', true, now(), now()),
                             ('by hand', false, NULL, NULL)) AS v(id, is_scheduled, paused_at, next_run)
            """)
        )
    assert upgrade(empty_database_url)[0] == "20261124_1730"
    with engine.connect() as connection:
        periods = connection.execute(
            text("""
                SELECT p.session_id, p.schedule_type, p.time_zone, p.starts_at < s.next_run, p.starts_at <= now()
                FROM schedule_periods p JOIN import_sessions s ON s.id = p.session_id
                WHERE p.ends_at IS NULL ORDER BY 1
            """)
        ).all()
    engine.dispose()
    assert [tuple(row) for row in periods] == [
        ("overdue", "daily", "Europe/Berlin", True, True),
        ("waits", "daily", "Europe/Berlin", True, True),
    ]


def test_two_processes_upgrading_at_once_both_succeed_and_one_does_the_work(empty_database_url: str) -> None:
    run = [sys.executable, "-m", "db", "upgrade"]
    environment = os.environ | {"DATABASE_URL": empty_database_url}
    processes = [
        subprocess.Popen(run, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = sorted(process.communicate(timeout=60)[0].split(":")[0].split(",")[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert said == ["The database is up to date already"] * 2 + ["Upgraded the database"]


def test_upgrade_waits_for_its_turn(empty_database_url: str) -> None:
    engine = create_engine(normalise_url(empty_database_url))
    with engine.connect() as other, ThreadPoolExecutor(1) as pool:
        other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": migrate.ADVISORY_LOCK})
        upgrading = pool.submit(upgrade, empty_database_url)
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        wait_until(lambda: other.scalar(waiting), 30, "the upgrade to wait for its turn")
        assert not upgrading.done()
        other.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": migrate.ADVISORY_LOCK})
        assert upgrading.result(timeout=30)
    engine.dispose()


def test_upgrade_gives_up_on_a_table_that_stays_in_use(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "50ms")
    engine = create_engine(normalise_url(empty_database_url))
    fill(engine)
    before = everything(engine)
    with engine.begin() as reader:
        reader.execute(text("SELECT * FROM users"))
        with pytest.raises(MigrationRefusedError, match="another connection holds a table"):
            upgrade(empty_database_url)
    assert everything(engine) == before
    engine.dispose()


def test_upgrade_gives_up_on_a_step_that_takes_too_long(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "STATEMENT_TIMEOUT", "50ms")
    engine = create_engine(normalise_url(empty_database_url))
    fill(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("""
            CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(10); RETURN NEW; END';
            CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION dawdle()
        """)
    before = everything(engine)
    with pytest.raises(MigrationRefusedError, match="took longer than 50ms"):
        upgrade(empty_database_url)
    assert everything(engine) == before
    engine.dispose()


def test_every_step_runs_under_limits_and_in_utc(empty_database_url: str) -> None:
    engine = create_engine(normalise_url(empty_database_url))
    fill(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("""
            CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'lock %% statement %% zone %%',
            current_setting('lock_timeout'), current_setting('statement_timeout'), current_setting('TimeZone'); END $$;
            CREATE TRIGGER telling BEFORE UPDATE ON users EXECUTE FUNCTION tell()
        """)
    with pytest.raises(MigrationRefusedError, match="lock 10s statement 10min zone UTC"):
        upgrade(empty_database_url)
    engine.dispose()


def test_a_revision_from_the_future_is_left_alone(database_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '29990101_0000'"))  # noqa: S608
    assert not is_current(database_url)
    with pytest.raises(MigrationRefusedError, match="revision 29990101_0000, which this version"):
        upgrade(database_url)


def test_migrations_only_go_forward(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(PROJECT_ROOT / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        with pytest.raises(NotImplementedError, match="only go forward"):
            command.downgrade(config, "base")
