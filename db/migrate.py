"""Bring a database's tables up to date, and say why when that is not possible."""

from collections.abc import Generator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from db.engine import create_database_engine, normalise_url
from db.errors import PunctualError
from settings import PROJECT_ROOT

VERSION_TABLE = "punctual_migrations"  # not Alembic's default, which an older system may have in the same database
ADVISORY_LOCK = 0x50756E6374  # "Punct"
TURN_TIMEOUT = "15min"  # for another process's upgrade to end
LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "10min"

_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"


class MigrationRefusedError(PunctualError):
    """The database cannot be brought up to date; nothing in it was changed."""


def upgrade(database: str | URL | Engine) -> list[str]:
    """Apply what is missing, all of it or nothing; returns the revisions applied, oldest first.

    A second process that upgrades at the same time waits and then finds nothing to do. Raises
    MigrationRefusedError when the database holds what cannot be brought over, and SQLAlchemy's
    OperationalError when it cannot be reached (see `explain_connection_error`).
    """
    applied: list[str] = []
    with _engine_of(database) as engine, engine.connect() as connection:
        config = _alembic_config()
        config.attributes.update(connection=connection, applied=applied)
        try:
            with connection.begin():
                command.upgrade(config, "head")
        except CommandError as error:
            raise MigrationRefusedError(_explain_unknown_revision(connection, error)) from error
        except DBAPIError as error:
            if error.connection_invalidated or _sqlstate(error) is None:
                raise
            raise MigrationRefusedError(_explain_refusal(error)) from error
    return applied


def current_revision(database: str | URL | Engine) -> str | None:
    """The revision of the database's tables; None when it has none of ours."""
    with _engine_of(database) as engine, engine.connect() as connection:
        return _read_revision(connection)


def is_current(database: str | URL | Engine) -> bool:
    """Whether the tables are those that this version of Punctual expects."""
    return current_revision(database) == head_revision()


def head_revision() -> str | None:
    """The newest revision that this version of Punctual knows."""
    return ScriptDirectory.from_config(_alembic_config()).get_current_head()


def explain_connection_error(error: DBAPIError, url: URL) -> str:
    """Why the database cannot be reached, in one sentence without user name, password or address parameters."""
    where, name = _place(url), url.database or "postgres"
    said = str(error.orig)
    reasons = {
        "password authentication failed": f"the database at {where} refuses this user name and password",
        "no password supplied": f"the database at {where} asks for a password, and DATABASE_URL has none",
        "role": f"the database at {where} does not know the user of DATABASE_URL",
        "database": f'there is no database "{name}" at {where}; create it or correct DATABASE_URL',
        "no pg_hba.conf entry": f'the database at {where} does not let this machine use "{name}" (pg_hba.conf)',
        "could not translate host name": f"there is no host of the name in DATABASE_URL ({where})",
        "Connection refused": f"nothing answers at {where}; is Postgres running there?",
        "No such file or directory": f"nothing answers at {where}; is Postgres running there?",
        "timeout expired": f"nothing answers at {where} within the time allowed; is the address right?",
        "starting up": f"the database at {where} is still starting up; try again in a moment",
        "shutting down": f"the database at {where} is shutting down",
        "too many clients": f"the database at {where} has no connection free; raise max_connections there",
        "remaining connection slots": f"the database at {where} has no connection free; raise max_connections there",
    }
    for phrase, reason in reasons.items():
        if phrase in said and (phrase not in ("role", "database") or f'{phrase} "' in said):
            return reason
    return f'the database "{name}" at {where} cannot be reached; is DATABASE_URL right?'


def _place(url: URL) -> str:
    host = url.host or url.query.get("host") or "the local socket"
    host = host if isinstance(host, str) else ", ".join(host)
    if host.startswith("/"):
        return f"the socket in {host}"
    return f"{host}:{url.port or 5432}" if url.host or url.query.get("host") else host


@contextmanager
def _engine_of(database: str | URL | Engine) -> Generator[Engine]:
    if isinstance(database, Engine):
        yield database
        return
    url = database if isinstance(database, URL) else normalise_url(database)
    engine = create_database_engine(url, application="migrations", pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(PROJECT_ROOT / "migrations").replace("%", "%%"))
    return config


def _read_revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "pgcode", None)


def _explain_unknown_revision(connection: Connection, error: CommandError) -> str:
    revision = _read_revision(connection)
    if revision is None:
        return str(error)
    return (
        f"the database is at revision {revision}, which this version of Punctual does not know; "
        "use the version that upgraded it, or a newer one"
    )


def _explain_refusal(error: DBAPIError) -> str:
    state = _sqlstate(error)
    if state == _LOCK_NOT_AVAILABLE:
        return (
            "another connection holds a table that has to change; stop the programs that use this database "
            "and upgrade again; nothing was changed"
        )
    if state == _QUERY_CANCELED:
        return f"a step of the upgrade took longer than {STATEMENT_TIMEOUT}; nothing was changed"
    diagnostics = getattr(error.orig, "diag", None)
    said = getattr(diagnostics, "message_primary", None) or str(error.orig).strip()
    detail = getattr(diagnostics, "message_detail", None)
    table = getattr(diagnostics, "table_name", None)
    found = " ".join(filter(None, (f"table {table}:" if table else None, said, f"({detail})" if detail else None)))
    return f"the database refused a step of the upgrade: {found}; nothing was changed"
