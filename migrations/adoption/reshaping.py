"""Types, names, constraints and indexes of adopted tables."""

from collections.abc import Sequence

import psycopg2.errors
from alembic import op
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from db.migrate import MigrationRefusedError
from migrations.adoption.old_tables import (
    COUNT_TYPES,
    FLAG_TYPES,
    INSTANT_TYPES,
    TEXT_TYPES,
    OldColumn,
    OldTable,
    OldTables,
)
from migrations.adoption.schedule_texts import make_json
from migrations.first_tables import COLUMNS, COMMENTS, CONSTRAIN

KEYS = {"users": ("id",), "import_sessions": ("id", "user_id"), "import_results": ("id", "session_id")}


def loosen(connection: Connection, old: OldTables) -> None:
    """Take off old constraints and indexes, then give every known column the type it has in our tables."""
    if not old.tables:
        return
    connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    foreign_columns = _drop_foreign_keys(connection, old)
    for table in old:
        _drop_own_constraints(connection, table)
        _drop_own_indexes(connection, table)
        _change_types(connection, table)
    for oid, column in foreign_columns:
        _make_text(connection, oid, column)
    if "import_results" in old:
        connection.execute(text("ALTER TABLE import_results RENAME COLUMN email TO username"))


def run(connection: Connection, statement: str) -> None:
    """Execute a statement with names from the catalogue, whatever characters these have."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def add_columns(table: OldTable) -> None:
    """Add our columns, nullable until they are filled."""
    present = set(table.columns) | ({"username"} if table.name == "import_results" else set())
    for column in COLUMNS[table.name]():
        if column.name not in present:
            column.nullable = column.server_default is None
            op.add_column(table.name, column)


def complete_table(connection: Connection, table: OldTable) -> None:
    """Our defaults, NOT NULLs, comments, names, constraints and indexes, now that every column has its values."""
    for column in COLUMNS[table.name]():
        default = column.server_default
        op.alter_column(
            table.name,
            column.name,
            server_default=getattr(default, "arg", None),
            nullable=column.nullable,
            comment=column.comment,
        )
    for column in table.columns.values():
        if column not in table.known and column.is_required and not column.has_default and not column.is_identity:
            # Punctual's own inserts know nothing of this column.
            op.alter_column(table.name, column.name, nullable=True)
    op.create_table_comment(table.name, COMMENTS[table.name])
    _name_primary_key(connection, table)
    CONSTRAIN[table.name]()


def tie(connection: Connection, old: OldTables) -> None:
    """Put back the foreign keys of other tables that had to make way for a change of type."""
    for statement in old.foreign_keys:
        run(connection, statement)


def _drop_foreign_keys(connection: Connection, old: OldTables) -> Sequence[tuple[int, str]]:
    """Drop foreign keys that a change from uuid or number to text would break; returns other columns to change.

    A column that refers to a changing one changes along, and so does what refers to that.
    """
    keys = {(t.oid, c) for t in old for c in KEYS[t.name]}
    ours = frozenset(keys)
    links = connection.execute(text(_FOREIGN_KEY_COLUMNS)).all()
    while grown := {(k.table, k.column) for k in links if (k.target, k.target_column) in keys} - keys:
        keys |= grown
    broken: dict[int, Row[tuple[object, ...]]] = {}
    changed: set[tuple[int, str]] = set()
    for link in links:
        source, target = (link.table, link.column), (link.target, link.target_column)
        if source in ours and target not in ours and link.kind not in TEXT_TYPES:
            raise MigrationRefusedError(
                f"{link.table_name}.{link.column} refers to {link.target_name}.{link.target_column}, which is not a "
                f'table of the earlier system; drop the constraint "{link.name}" first; nothing was changed'
            )
        if target in keys and {link.kind, link.target_kind} - TEXT_TYPES:
            broken[link.oid] = link
            changed.update({source} if link.kind not in TEXT_TYPES else set())
    for link in broken.values():
        run(connection, f"ALTER TABLE {link.table_name} DROP CONSTRAINT {link.quoted_name}")
        if not _is_replaced(old, link):
            old.foreign_keys.append(
                f"ALTER TABLE {link.table_name} ADD CONSTRAINT {link.quoted_name} {link.definition}"
            )
    return sorted(changed - ours)


def _is_replaced(old: OldTables, link: Row[tuple[object, ...]]) -> bool:
    return any(link.table == t.oid and link.column in KEYS[t.name] for t in old)


def _drop_own_constraints(connection: Connection, table: OldTable) -> None:
    """Drop what says something about known columns only, unless another table's foreign key needs it."""
    known = [column.name for column in table.known]
    for name in connection.scalars(text(_OWN_CONSTRAINTS), {"table": table.oid, "known": known}).all():
        run(connection, f"ALTER TABLE {table.name} DROP CONSTRAINT {name}")


def _drop_own_indexes(connection: Connection, table: OldTable) -> None:
    known = [column.name for column in table.known]
    for name in connection.scalars(text(_OWN_INDEXES), {"table": table.oid, "known": known}).all():
        run(connection, f"DROP INDEX {name}")


def _change_types(connection: Connection, table: OldTable) -> None:
    for column in table.known:
        prefix = f"ALTER TABLE {table.name} ALTER COLUMN {column.name}"
        if column.is_identity:
            connection.execute(text(f"{prefix} DROP IDENTITY"))
        connection.execute(text(f"{prefix} DROP DEFAULT"))
        if column.name == "schedule_config":
            make_json(connection, column.kind in TEXT_TYPES)
        _execute_change(connection, table.name, column.name, f"{prefix} TYPE {_type_of(table, column)}")
    if "created_at" in table.columns:
        connection.execute(text(f"UPDATE {table.name} SET created_at = now() WHERE created_at IS NULL"))  # noqa: S608


def _type_of(table: OldTable, column: OldColumn) -> str:
    if column.kind in INSTANT_TYPES:
        is_naive = column.kind == "timestamp"
        return f"timestamptz USING {column.name} AT TIME ZONE 'UTC'" if is_naive else "timestamptz"
    if column.kind in FLAG_TYPES:
        return "boolean"
    if column.name == "schedule_config":
        return "jsonb USING schedule_config::jsonb"
    if column.kind in COUNT_TYPES and column.name not in KEYS[table.name]:
        return "integer"
    return f"text USING {column.name}::text"


def _make_text(connection: Connection, oid: int, column: str) -> None:
    """Change a column of somebody else's table along with the key that it refers to, and note that."""
    row = connection.execute(text(_QUOTED), {"table": oid, "column": column}).one()
    statement = f"ALTER TABLE {row.table_name} ALTER COLUMN {row.column} TYPE text USING {row.column}::text"
    _execute_change(connection, row.table_name, column, statement)
    connection.execute(
        text(
            "INSERT INTO audit_log (action, subject, before, after) VALUES ('column type changed', :subject,"
            " jsonb_build_object('type', CAST(:kind AS text)), jsonb_build_object('type', 'text'))"
        ),
        {"subject": f"column {row.table_name}.{column}", "kind": row.kind},
    )


def _execute_change(connection: Connection, table: str, column: str, statement: str) -> None:
    try:
        run(connection, statement)
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg2.errors.FeatureNotSupported):
            raise
        diagnostics = error.orig.diag
        raise MigrationRefusedError(
            f"{table}.{column} has to change its type and something depends on it: {diagnostics.message_primary} "
            f"({diagnostics.message_detail}); drop that, upgrade, and make it anew; nothing was changed"
        ) from error


def _name_primary_key(connection: Connection, table: OldTable) -> None:
    name = connection.scalar(
        text("SELECT quote_ident(conname) FROM pg_constraint WHERE conrelid = :table AND contype = 'p'"),
        {"table": table.oid},
    )
    if name is None:
        op.create_primary_key(op.f(f"pk_{table.name}"), table.name, ["id"])
    elif name != f"pk_{table.name}":
        run(connection, f"ALTER TABLE {table.name} RENAME CONSTRAINT {name} TO pk_{table.name}")


_FOREIGN_KEY_COLUMNS = """
    SELECT c.oid, c.conname AS name, quote_ident(c.conname) AS quoted_name, pg_get_constraintdef(c.oid) AS definition,
           c.conrelid AS table, c.conrelid::regclass::text AS table_name, a.attname AS column, t.typname AS kind,
           c.confrelid AS target, c.confrelid::regclass::text AS target_name, f.attname AS target_column,
           ft.typname AS target_kind
    FROM pg_constraint c
    CROSS JOIN LATERAL unnest(c.conkey, c.confkey) AS pair(own, foreign_)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = pair.own JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = pair.foreign_ JOIN pg_type ft ON ft.oid = f.atttypid
    WHERE c.contype = 'f' AND c.conparentid = 0
    ORDER BY c.oid
"""
_NEEDED_ELSEWHERE = """
    EXISTS (SELECT 1 FROM pg_constraint f WHERE f.contype = 'f' AND f.conindid = {index} AND f.conrelid <> :table)
"""
_OWN_CONSTRAINTS = f"""
    SELECT quote_ident(c.conname) FROM pg_constraint c
    WHERE c.conrelid = :table AND c.contype IN ('u', 'c', 'f', 'x') AND cardinality(c.conkey) > 0
      AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
                      AND a.attname <> ALL (CAST(:known AS text[])))
      AND (c.contype <> 'f' OR c.confrelid::regclass::text IN ('users', 'import_sessions'))
      AND (c.contype NOT IN ('u', 'x') OR NOT {_NEEDED_ELSEWHERE.format(index="c.conindid")})
    ORDER BY c.contype = 'u', c.oid
"""  # noqa: S608
_OWN_INDEXES = f"""
    SELECT i.indexrelid::regclass::text FROM pg_index i
    WHERE i.indrelid = :table
      AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
      AND EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                  AND d.refobjid = i.indrelid AND d.refobjsubid > 0)
      AND NOT EXISTS (SELECT 1 FROM pg_depend d
                      JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid
                        AND a.attname <> ALL (CAST(:known AS text[])))
      AND NOT {_NEEDED_ELSEWHERE.format(index="i.indexrelid")}
    ORDER BY i.indexrelid
"""  # noqa: S608
_QUOTED = """
    SELECT attrelid::regclass::text AS table_name, quote_ident(attname) AS column,
           format_type(atttypid, atttypmod) AS kind
    FROM pg_attribute WHERE attrelid = :table AND attname = :column
"""
