"""How Alembic runs here: on one connection, all in one transaction, one process at a time."""

from datetime import UTC, datetime

from alembic import context
from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import Connection, text

from db import migrate
from db.engine import create_database_engine, resolve_url
from migrations import comparison
from settings import read_settings


def run_on(connection: Connection) -> None:
    context.configure(
        connection=connection,
        **comparison.OPTIONS,
        process_revision_directives=name_by_time,
        on_version_apply=note_version,
    )
    with context.begin_transaction():
        take_turn(connection)
        context.run_migrations()


def take_turn(connection: Connection) -> None:
    """Wait for another upgrade to end, then let no statement wait or work without a limit."""
    settings = {"idle_in_transaction_session_timeout": "0", "statement_timeout": "0", "TimeZone": "UTC"}
    set_locally(connection, settings | {"lock_timeout": migrate.TURN_TIMEOUT})
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrate.ADVISORY_LOCK})
    limits = {"lock_timeout": migrate.LOCK_TIMEOUT, "statement_timeout": migrate.STATEMENT_TIMEOUT}
    set_locally(connection, limits)


def set_locally(connection: Connection, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        connection.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})


def name_by_time(_context: object, _revision: object, directives: list[MigrationScript]) -> None:
    for directive in directives:
        directive.rev_id = datetime.now(UTC).strftime("%Y%m%d_%H%M")


def note_version(ctx: object, step: MigrationInfo, heads: object, run_args: object) -> None:
    context.config.attributes.setdefault("applied", []).extend(step.up_revision_ids)


if context.is_offline_mode():
    raise NotImplementedError("there are no SQL scripts: an upgrade looks at the rows it finds")
given = context.config.attributes.get("connection")
if given is not None:
    run_on(given)
else:
    engine = create_database_engine(resolve_url(read_settings()), application="migrations", pool_size=1)
    with engine.begin() as connection:
        run_on(connection)
    engine.dispose()
