"""Rows that cannot be brought over, found before anything changes."""

from collections.abc import Sequence

from sqlalchemy import Connection, Row, text

from db.migrate import MigrationRefusedError

# Without these a row means nothing; blanks count as missing where the value is used as a name.
NEEDED = {
    "users": ("id", "email", "password_hash"),
    "import_sessions": ("id", "user_id", "login_url", "billing_url"),
    "import_results": ("id", "session_id", "email"),
}
REFERENCES = {"import_sessions": "user_id", "import_results": "session_id"}
# Postgres knows more: infinity, years before 1 and after 9999. A day is left at both ends for time zones.
FIRST_TIME, LAST_TIME = "0001-01-02", "9999-12-30"


def check_rows(connection: Connection, table: str, parent: str | None, times: Sequence[str]) -> None:
    """Raise MigrationRefusedError naming the first row that has no owner, lacks what it needs, or is of no time.

    `times` are the table's columns of instants.
    """
    for column in NEEDED[table]:
        _check_present(connection, table, column)
    _check_unique(connection, table)
    for column in times:
        _check_time(connection, table, column)
    if parent is not None:
        _check_owned(connection, table, REFERENCES[table], parent)


def _check_present(connection: Connection, table: str, column: str) -> None:
    missing = f"btrim({column}, E' \\t\\r\\n') = ''" if (table, column) == ("users", "email") else "false"
    row = connection.execute(
        text(
            f"SELECT id::text AS id, {column} IS NULL AS is_null, count(*) OVER () AS rows"  # noqa: S608
            f" FROM {table} WHERE {column} IS NULL OR {missing} ORDER BY id::text LIMIT 1"
        )
    ).first()
    if row is not None:
        found = "missing (NULL)" if row.is_null else "blank"
        raise MigrationRefusedError(
            f"{table} row {row.id}: {column} is {found}; fill it in or delete the row{_others(row)}; "
            "nothing was changed"
        )


def _check_unique(connection: Connection, table: str) -> None:
    row = connection.execute(
        text(
            f"SELECT id::text AS id, count(*) OVER () AS rows FROM {table}"  # noqa: S608
            " GROUP BY id::text HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
        )
    ).first()
    if row is not None:
        raise MigrationRefusedError(
            f"{table} row {row.id}: several rows have this id; give each its own{_others(row)}; nothing was changed"
        )


def _check_time(connection: Connection, table: str, column: str) -> None:
    row = connection.execute(
        text(
            f"SELECT id::text AS id, {column}::text AS found, count(*) OVER () AS rows FROM {table}"  # noqa: S608
            f" WHERE {column} NOT BETWEEN '{FIRST_TIME}' AND '{LAST_TIME}' ORDER BY id::text LIMIT 1"
        )
    ).first()
    if row is not None:
        raise MigrationRefusedError(
            f'{table} row {row.id}: {column} is "{row.found}", and a time has to be in the years 1 to 9999; '
            f"correct it or set it to NULL{_others(row)}; nothing was changed"
        )


def _check_owned(connection: Connection, table: str, column: str, parent: str) -> None:
    row = connection.execute(
        text(
            f"SELECT id::text AS id, {column}::text AS found, count(*) OVER () AS rows FROM {table} t"  # noqa: S608
            f" WHERE NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.id::text = t.{column}::text)"
            " ORDER BY id::text LIMIT 1"
        )
    ).first()
    if row is not None:
        raise MigrationRefusedError(
            f'{table} row {row.id}: {column} is "{row.found}", and {parent} has no such row; '
            f"restore that row or delete this one{_others(row)}; nothing was changed"
        )


def _others(row: Row[tuple[object, ...]]) -> str:
    return f" ({row.rows} such rows)" if row.rows > 1 else ""
