"""What an earlier system left, as the catalogue tells, and whether it can be adopted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from db.migrate import MigrationRefusedError
from migrations.adoption.checks import check_rows

TEXT_TYPES = {"text", "varchar", "bpchar", "citext"}
KEY_TYPES = TEXT_TYPES | {"uuid", "int2", "int4", "int8"}
WORD_TYPES = TEXT_TYPES | {"an enum"}
INSTANT_TYPES = {"timestamp", "timestamptz"}
FLAG_TYPES = {"bool"}
COUNT_TYPES = {"int2", "int4", "int8"}
CONFIG_TYPES = TEXT_TYPES | {"json", "jsonb"}

# The order matters: a table comes after those that it refers to.
REQUIRED = {
    "users": {"id": KEY_TYPES, "email": TEXT_TYPES, "password_hash": TEXT_TYPES, "created_at": INSTANT_TYPES},
    "import_sessions": {
        "id": KEY_TYPES,
        "user_id": KEY_TYPES,
        "login_url": TEXT_TYPES,
        "billing_url": TEXT_TYPES,
        "status": WORD_TYPES,
        "created_at": INSTANT_TYPES,
    },
    "import_results": {
        "id": KEY_TYPES,
        "session_id": KEY_TYPES,
        "email": TEXT_TYPES,
        "status": WORD_TYPES,
        "created_at": INSTANT_TYPES,
    },
}
OPTIONAL = {
    "users": {
        "username": TEXT_TYPES,
        "name": TEXT_TYPES,
        "role": WORD_TYPES,
        "is_active": FLAG_TYPES,
        "last_login_at": INSTANT_TYPES,
    },
    "import_sessions": {
        "name": TEXT_TYPES,
        "csv_url": TEXT_TYPES,
        "is_scheduled": FLAG_TYPES,
        "schedule_type": WORD_TYPES,
        "schedule_config": CONFIG_TYPES,
        "next_run": INSTANT_TYPES,
        "last_scheduled_run": INSTANT_TYPES,
        "updated_at": INSTANT_TYPES,
    },
    "import_results": {
        "error": TEXT_TYPES,
        "retry_attempts": COUNT_TYPES,
        "final_error": TEXT_TYPES,
        "file_url": TEXT_TYPES,
    },
}
# Names that the adopted tables get and that an old column of another meaning must not have.
NEW = {
    "users": {"time_zone"},
    "import_sessions": {
        *("tags", "portal_id", "last_outcome", "last_run_id", "last_run_at", "time_zone", "paused_at", "catch_up"),
        *("overlap", "max_attempts", "retry_delay_seconds", "timeout_seconds", "notify_on", "accounts_count"),
        *("results_count", "version"),
    },
    "import_results": {
        *("run_id", "account_id", "username", "row_number", "bills_new", "bills_seen", "started_at", "finished_at"),
    },
}
PARENTS = {"import_sessions": "users", "import_results": "import_sessions"}
OURS_ALONE = (
    *("audit_log", "portals", "scheduler_instances", "sign_in_attempts", "user_sessions", "accounts"),
    *("import_runs", "bills", "notifications", "run_log"),
)


@dataclass(frozen=True)
class OldColumn:
    """A column as the old system made it; `kind` is its base type's catalogue name, or `an enum`."""

    name: str
    kind: str
    is_required: bool
    has_default: bool
    is_identity: bool


@dataclass(frozen=True)
class OldTable:
    """A table to be adopted."""

    name: str
    oid: int
    columns: Mapping[str, OldColumn]

    @property
    def known(self) -> list[OldColumn]:
        """The columns whose meaning is known; the others are not touched."""
        accepted = REQUIRED[self.name] | OPTIONAL[self.name]
        return [column for column in self.columns.values() if column.name in accepted]


@dataclass
class OldTables:
    """The old tables by name, and the statements that put other tables' foreign keys back."""

    tables: dict[str, OldTable]
    foreign_keys: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.tables

    def __getitem__(self, name: str) -> OldTable:
        return self.tables[name]

    def __iter__(self) -> Iterator[OldTable]:
        return iter(self.tables.values())


def find_old_tables(connection: Connection) -> OldTables:
    """The earlier system's tables, locked until the upgrade ends.

    Raises MigrationRefusedError when a table has another shape or a row cannot be brought over.
    """
    kinds = {name: (oid, kind) for oid, name, kind in connection.execute(text(_RELATIONS))}
    for name in OURS_ALONE:
        if name in kinds:
            raise MigrationRefusedError(
                f'there is a table "{name}" that Punctual did not make; rename it, '
                "or let DATABASE_URL name a database or schema of Punctual's own"
            )
    tables: dict[str, OldTable] = {}
    for name in REQUIRED:
        if name in kinds:
            tables[name] = _read_table(connection, name, *kinds[name])
            parent = PARENTS.get(name)
            if parent is not None and parent not in tables:
                raise MigrationRefusedError(
                    f'there is a table "{name}" but no table "{parent}" that its rows belong to; bring both or neither'
                )
    for table in tables.values():
        times = [column.name for column in table.known if column.kind in INSTANT_TYPES]
        check_rows(connection, table.name, PARENTS.get(table.name), times)
    return OldTables(tables)


def _read_table(connection: Connection, name: str, oid: int, kind: str) -> OldTable:
    if kind != "r":
        raise MigrationRefusedError(f'"{name}" is not an ordinary table, and only such a one can be adopted')
    connection.execute(text(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"))
    rows = connection.execute(text(_COLUMNS), {"table": oid}).all()
    for row in rows:
        _check_column(name, row.name, row.kind, row.shown, is_generated=row.is_generated)
    columns = {r.name: OldColumn(r.name, r.kind, r.is_required, r.has_default, r.is_identity) for r in rows}
    for required in REQUIRED[name]:
        if required not in columns:
            raise MigrationRefusedError(
                f'table "{name}" has no column "{required}"; found {", ".join(columns)}; an earlier system has '
                f"{', '.join(REQUIRED[name])} and maybe {', '.join(OPTIONAL[name])}"
            )
    key = connection.scalars(text(_PRIMARY_KEY), {"table": oid}).all()
    if key not in ([], ["id"]):
        raise MigrationRefusedError(f'table "{name}" has the primary key {", ".join(key)}; it has to be id')
    return OldTable(name, oid, columns)


def _check_column(table: str, name: str, kind: str, shown: str, *, is_generated: bool) -> None:
    accepted = (REQUIRED[table] | OPTIONAL[table]).get(name)
    if name in NEW[table]:
        raise MigrationRefusedError(
            f'table "{table}" has a column "{name}", a name that Punctual gives another meaning; rename that column'
        )
    if accepted is None:
        return
    if is_generated:
        raise MigrationRefusedError(f"{table}.{name} is a generated column; it has to be an ordinary one")
    if kind not in accepted:
        raise MigrationRefusedError(
            f"{table}.{name} is of type {shown}; one of these can be brought over: {', '.join(sorted(accepted))}"
        )


_RELATIONS = """
    SELECT oid, relname, relkind FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS shown,
           CASE WHEN coalesce(base.typtype, t.typtype) = 'e' THEN 'an enum'
                ELSE coalesce(base.typname, t.typname) END AS kind,
           a.attnotnull AS is_required, a.atthasdef AS has_default, a.attidentity <> '' AS is_identity,
           a.attgenerated <> '' AS is_generated
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type base ON base.oid = t.typbasetype
    WHERE a.attrelid = :table AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
_PRIMARY_KEY = """
    SELECT a.attname::text FROM pg_constraint c
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
    WHERE c.conrelid = :table AND c.contype = 'p' ORDER BY a.attnum
"""
