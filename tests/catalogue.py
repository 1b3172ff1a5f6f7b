"""What a database holds, as values that tests compare."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, text

from db.models import Base
from migrations import comparison


def differences_from_models(engine: Engine, ignored_columns: frozenset[str] = frozenset()) -> list[Any]:
    """What Alembic would change to make the tables those of the models; other tables are left out."""

    def is_ours(name: str | None, kind: str, parents: dict[str, Any]) -> bool:
        is_ignored = kind == "column" and f"{parents['table_name']}.{name}" in ignored_columns
        return not is_ignored and comparison.is_ours(name, kind, parents)

    options = comparison.OPTIONS | {"include_name": is_ours}
    with engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)


def constraints_and_indexes(engine: Engine) -> set[tuple[Any, ...]]:
    """Every constraint and index of our tables with its full definition, and every column's default and comment."""
    tables = list(Base.metadata.tables)
    with engine.connect() as connection:
        return {
            tuple(row) for query in _DEFINITIONS for row in connection.execute(text(query), {"tables": tables}).all()
        }


def everything(engine: Engine) -> dict[str, Any]:
    """The whole database outside Postgres's own schemas: definitions and every row of every table."""
    with engine.connect() as connection:
        found: dict[str, Any] = {query: connection.execute(text(query)).all() for query in _ALL}
        tables = connection.scalars(
            text(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p', 'm')"
                " AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,"
                " 'pg_toast'::regnamespace)"
            )
        ).all()
        return found | {table: rows_of(connection, table) for table in tables}


def rows_of(connection: Connection, table: str) -> list[str]:
    return list(connection.scalars(text(f"SELECT t::text FROM {table} t ORDER BY 1")).all())  # noqa: S608


_OURS = "= ANY (CAST(:tables AS text[]))"
_DEFINITIONS = (
    f"""SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
        FROM pg_constraint WHERE conrelid::regclass::text {_OURS} AND contype <> 'n'""",  # noqa: S608
    f"""SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
        FROM pg_index WHERE indrelid::regclass::text {_OURS}""",  # noqa: S608
    """SELECT 'column', a.attrelid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity, pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum), a.attcollation
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = ANY (CAST(:tables AS text[])::regclass[]) AND a.attnum > 0 AND NOT a.attisdropped""",
    "SELECT 'comment', t, obj_description(CAST(t AS regclass), 'pg_class') FROM unnest(CAST(:tables AS text[])) t",
)
_NOT_SYSTEM = "NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)"
_ALL = (
    f"SELECT oid, relname, relkind FROM pg_class WHERE relnamespace {_NOT_SYSTEM} ORDER BY oid",  # noqa: S608
    f"""SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace {_NOT_SYSTEM} ORDER BY c.oid, a.attnum""",  # noqa: S608
    f"""SELECT oid, conname, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')
        FROM pg_constraint WHERE connamespace {_NOT_SYSTEM} ORDER BY oid""",  # noqa: S608
    f"""SELECT i.indexrelid, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relnamespace {_NOT_SYSTEM} ORDER BY 1""",  # noqa: S608
    "SELECT oid, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY oid",
    "SELECT schemaname, viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 2",
    "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1",
)
