"""What cannot be adopted is refused with the table, the row and the remedy, and nothing at all has changed."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from db.engine import create_database_engine, normalise_url
from db.migrate import MigrationRefusedError, current_revision, upgrade
from tests.catalogue import everything
from tests.old_system import USERS, fill, job_id, result_id

REFUSED = {
    "a result without its session": (
        "ALTER TABLE import_results DROP CONSTRAINT import_results_session_id_fkey;"
        " DELETE FROM import_sessions WHERE status = 'failed'",
        f'import_results row {result_id(19)}: session_id is "{job_id(3)}", and import_sessions has no such row;'
        " restore that row or delete this one (6 such rows)",
    ),
    "a session without its user": (
        "ALTER TABLE import_sessions DROP CONSTRAINT import_sessions_user_id_fkey;"
        " DELETE FROM team_members; DELETE FROM users WHERE email = 'bob@example.com'",
        f'import_sessions row {job_id(3)}: user_id is "{USERS[1][0]}", and users has no such row;'
        " restore that row or delete this one (2 such rows)",
    ),
    "a user without an address": (
        "ALTER TABLE users ALTER email DROP NOT NULL; UPDATE users SET email = NULL WHERE email = 'bob@example.com'",
        f"users row {USERS[1][0]}: email is missing (NULL); fill it in or delete the row",
    ),
    "a user with a blank address": (
        "UPDATE users SET email = E' \\t' WHERE email = 'bob@example.com'",
        f"users row {USERS[1][0]}: email is blank",
    ),
    "a job without a login URL": (
        "ALTER TABLE import_sessions ALTER login_url DROP NOT NULL;"
        " UPDATE import_sessions SET login_url = NULL WHERE status = 'failed'",
        f"import_sessions row {job_id(3)}: login_url is missing (NULL)",
    ),
    "a result without an account": (
        "ALTER TABLE import_results ALTER email DROP NOT NULL;"
        " UPDATE import_results SET email = NULL WHERE status = 'timeout'",
        f"import_results row {result_id(15)}: email is missing (NULL)",
    ),
    "two rows with one id": (
        "ALTER TABLE import_results DROP CONSTRAINT import_results_pkey, DROP CONSTRAINT one_result;"
        " INSERT INTO import_results SELECT * FROM import_results WHERE status = 'timeout'",
        f"import_results row {result_id(15)}: several rows have this id",
    ),
    "a schedule due at infinity": (
        "UPDATE import_sessions SET next_run = 'infinity' WHERE status = 'failed'",
        f'import_sessions row {job_id(3)}: next_run is "infinity", and a time has to be in the years 1 to 9999;'
        " correct it or set it to NULL; nothing was changed",
    ),
    "a session made before our era": (
        "UPDATE import_sessions SET created_at = '0044-03-15 BC' WHERE status = 'failed'",
        f'import_sessions row {job_id(3)}: created_at is "0044-03-15 00:00:00 BC"',
    ),
    "a result of the year 99999": (
        "UPDATE import_results SET created_at = '99999-01-01' WHERE status = 'timeout'",
        f'import_results row {result_id(15)}: created_at is "99999-01-01 00:00:00"',
    ),
    "a table of another shape": (
        "ALTER TABLE import_results DROP COLUMN email",
        'table "import_results" has no column "email"; found id, session_id, status, error',
    ),
    "a column of another type": (
        "ALTER TABLE import_sessions ALTER created_at DROP DEFAULT, ALTER created_at TYPE date",
        "import_sessions.created_at is of type date; one of these can be brought over: timestamp, timestamptz",
    ),
    "a column of another meaning": (
        "ALTER TABLE import_results ADD COLUMN run_id uuid",
        'table "import_results" has a column "run_id", a name that Punctual gives another meaning',
    ),
    "somebody else's table of our name": (
        "CREATE TABLE accounts (id serial PRIMARY KEY, balance numeric)",
        'there is a table "accounts" that Punctual did not make',
    ),
    "a session table without users": (
        "DROP TABLE users CASCADE",
        'there is a table "import_sessions" but no table "users"',
    ),
    "a view on a column that changes": (
        "CREATE VIEW addresses AS SELECT email FROM users",
        "users.email has to change its type and something depends on it",
    ),
    "a view in place of a table": (
        "ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people",
        '"users" is not an ordinary table',
    ),
    "a primary key that is not the id": (
        "ALTER TABLE import_results DROP CONSTRAINT import_results_pkey, ADD PRIMARY KEY (session_id, email)",
        'table "import_results" has the primary key session_id, email; it has to be id',
    ),
    "a trigger that refuses": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'rows are frozen'; END$$;"
        " CREATE TRIGGER frozen BEFORE UPDATE ON import_results EXECUTE FUNCTION refuse()",
        "the database refused a step of the upgrade: rows are frozen; nothing was changed",
    ),
}


@pytest.fixture
def old(empty_database_url: str) -> Iterator[Engine]:
    engine = create_database_engine(normalise_url(empty_database_url), application="tests")
    fill(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(("damage", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_upgrade_says_why_and_changes_nothing(old: Engine, damage: str, said: str) -> None:
    with old.begin() as connection:
        connection.exec_driver_sql(damage)
    before = everything(old)
    with pytest.raises(MigrationRefusedError) as refused:
        upgrade(old)
    assert said in str(refused.value)
    assert everything(old) == before
    assert current_revision(old) is None


def test_upgrade_succeeds_once_the_row_is_put_right(old: Engine) -> None:
    with old.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET email = '' WHERE email = 'bob@example.com'")
    with pytest.raises(MigrationRefusedError):
        upgrade(old)
    with old.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET email = 'bob@example.com' WHERE email = ''")
    assert upgrade(old)
