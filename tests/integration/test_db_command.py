"""`python -m db`, run as people run it: what it says, where, and its exit code."""

import os
import subprocess
import sys

import psycopg2
import pytest
from sqlalchemy import Engine, make_url, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.migrate import explain_connection_error, head_revision
from db.models import User
from db.passwords import verify_password
from settings import PROJECT_ROOT

PASSWORD = "Corr3ct-horse-battery!"


def run(url: str, *arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PUNCTUAL_")}
    return subprocess.run(
        [sys.executable, "-m", "db", *arguments],
        env=clean | {"DATABASE_URL": url} | environment,
        cwd=PROJECT_ROOT,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_upgrade_says_what_it_did(empty_database_url: str) -> None:
    first, second = run(empty_database_url, "upgrade"), run(empty_database_url, "upgrade")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("Upgraded the database: applied 20261124_0200, ")
    assert first.stdout.endswith(f", {head_revision()}.\n")
    assert second.stdout == f"The database is up to date already, at {head_revision()}.\n"


def test_upgrade_says_that_adopted_users_need_an_admin(empty_database_url: str) -> None:
    connection = psycopg2.connect(empty_database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE users (id text PRIMARY KEY, email text, password_hash text, created_at timestamp)")
        cursor.execute("INSERT INTO users VALUES ('1', 'a@b.example', 'h', now())")
    connection.close()
    assert "python -m db create-user admin --role admin" in run(empty_database_url, "upgrade").stdout


def test_upgrade_says_why_it_is_refused(empty_database_url: str) -> None:
    connection = psycopg2.connect(empty_database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bills (id text PRIMARY KEY)")
    connection.close()
    done = run(empty_database_url, "upgrade")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith('There is a table "bills" that Punctual did not make;')
    assert done.stderr.count("\n") == 1


def test_check_tells_by_its_exit_code(empty_database_url: str, database_url: str) -> None:
    assert run(database_url, "check").returncode == 0
    done = run(empty_database_url, "check")
    assert done.returncode == 1
    assert done.stderr == (
        f"The database is at no revision, and this version of Punctual needs {head_revision()};"
        " run: python -m db upgrade.\n"
    )


def test_create_user_reads_the_password_from_stdin(database_url: str, engine: Engine) -> None:
    done = run(
        *(database_url, "create-user", "Ann", "--role", "viewer", "--email", "ann@example.com", "--name", "Ann Lee"),
        "--password-stdin",
        typed=f"{PASSWORD}\n",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Added viewer Ann.\n", "")
    with Session(engine) as session:
        user = session.scalars(select(User)).one()
        assert (user.username, user.role, user.email, user.name) == ("Ann", "viewer", "ann@example.com", "Ann Lee")
        assert verify_password(PASSWORD, user.password_hash)


def test_create_user_takes_the_configured_admins_password_from_the_settings(database_url: str) -> None:
    done = run(
        database_url,
        "create-user",
        "boss",
        "--role",
        "admin",
        PUNCTUAL_ADMIN_USERNAME="boss",
        PUNCTUAL_ADMIN_PASSWORD=PASSWORD,
    )
    assert (done.returncode, done.stdout) == (0, "Added admin boss.\n")
    other = run(database_url, "create-user", "else", PUNCTUAL_ADMIN_USERNAME="boss", PUNCTUAL_ADMIN_PASSWORD=PASSWORD)
    assert other.returncode == 1
    assert "--password-stdin" in other.stderr


def test_create_user_says_that_the_name_is_taken(database_url: str) -> None:
    run(database_url, "create-user", "ann", "--password-stdin", typed=PASSWORD)
    done = run(database_url, "create-user", "ANN", "--password-stdin", typed=PASSWORD)
    assert (done.returncode, done.stderr) == (1, 'There is already a user "ANN".\n')


def test_create_user_asks_for_an_upgrade_first(empty_database_url: str) -> None:
    done = run(empty_database_url, "create-user", "ann", "--password-stdin", typed=PASSWORD)
    assert (done.returncode, done.stderr) == (1, "The database is not up to date; run: python -m db upgrade.\n")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:Hush1@127.0.0.1:1/x", "Nothing answers at 127.0.0.1:1; is Postgres running there?\n"),
        ("postgresql://u:Hush1@no-such-host.invalid/x", "There is no host of the name in DATABASE_URL"),
        ("postgresql://u:Hush1@/x?host=/no/socket", "Nothing answers at the socket in /no/socket"),
        ("mysql://u:Hush1@db.example/x", 'DATABASE_URL: found "mysql"; Punctual needs postgresql://…\n'),
        ("postgresql://u:Hush1@db.example:port/x", "DATABASE_URL: not a database address"),
        ("postgresql://u:H@Hush1@127.0.0.1:1/x", "DATABASE_URL: write @ as %40"),
        ("user=u password=Hush1", "DATABASE_URL: not a database address"),
    ],
)
def test_an_unusable_address_is_one_sentence_without_the_password(url: str, said: str) -> None:
    done = run(url, "upgrade")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert "Hush1" not in done.stderr


def test_a_missing_database_is_named(database_url: str) -> None:
    name = psycopg2.extensions.parse_dsn(database_url)["dbname"]
    done = run(database_url.replace(name, "no_such_database"), "check")
    assert done.returncode == 1
    assert done.stderr.startswith('There is no database "no_such_database" at ')


def test_an_unknown_user_is_not_repeated(database_url: str, engine: Engine) -> None:
    dsn = psycopg2.extensions.parse_dsn(database_url)
    with engine.connect() as connection:
        port = connection.scalar(text("SELECT current_setting('port')"))
    done = run(f"postgresql://nobody_here:Hush1@:{port}/{dsn['dbname']}?host={dsn.get('host', 'localhost')}", "check")
    assert done.returncode == 1
    assert "Hush1" not in done.stderr
    assert "nobody_here" not in done.stderr


@pytest.mark.parametrize(
    ("libpq", "said"),
    [
        (
            'connection to server at "db.example" (192.0.2.1), port 5432 failed: FATAL:  password authentication'
            ' failed for user "u"',
            "the database at db.example:5432 refuses this user name and password",
        ),
        (
            'connection to server at "db.example" (192.0.2.1), port 5432 failed: timeout expired',
            "nothing answers at db.example:5432 within the time allowed; is the address right?",
        ),
        (
            'connection to server at "db.example" (192.0.2.1), port 5432 failed: FATAL:  too many clients',
            "the database at db.example:5432 has no connection free; raise max_connections there",
        ),
        (
            'connection to server at "db.example" (192.0.2.1), port 5432 failed: FATAL:  something else',
            'the database "x" at db.example:5432 cannot be reached; is DATABASE_URL right?',
        ),
    ],
)
def test_what_the_server_said_becomes_one_sentence(libpq: str, said: str) -> None:
    error = OperationalError(None, None, psycopg2.OperationalError(libpq))
    assert explain_connection_error(error, make_url("postgresql://u:Hush1@db.example/x")) == said
