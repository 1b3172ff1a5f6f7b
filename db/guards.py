"""Guards: the unique indexes that make doubles impossible, looked up as the database has them now."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Guard:
    """A unique index as it has to be: its columns, and the rows that it is about (all, when None)."""

    name: str
    table: str
    columns: tuple[str, ...]
    predicate: str | None = None


@dataclass(frozen=True)
class GuardState:
    """What the catalogue says about a guard; `problem` is None when it is as it has to be."""

    name: str
    definition: str | None
    problem: str | None

    @property
    def holds(self) -> bool:
        return self.problem is None


OCCURRENCE = Guard(
    "uq_import_runs_occurrence", "import_runs", ("session_id", "scheduled_for"), "(trigger = 'schedule'::text)"
)
RUNNING = Guard("uq_import_runs_running", "import_runs", ("session_id",), "(status = 'running'::text)")
RESULT = Guard("uq_import_results_run_id_account_id", "import_results", ("run_id", "account_id"))
FINISHED = Guard("uq_run_attempts_finished", "run_attempts", ("run_id",), "(outcome <> 'queued'::text)")


def look_up_guards(session: Session, guards: Iterable[Guard]) -> dict[str, GuardState]:
    """The state of each guard, by its name."""
    wanted = {guard.name: guard for guard in guards}
    rows = session.execute(
        text("""
            SELECT c.relname, t.relname, i.indisunique, i.indisvalid AND i.indisready,
                   ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) AS k),
                   pg_get_expr(i.indpred, i.indrelid), pg_get_indexdef(i.indexrelid)
            FROM pg_index AS i
            JOIN pg_class AS c ON c.oid = i.indexrelid
            JOIN pg_class AS t ON t.oid = i.indrelid
            WHERE c.relname = ANY(:names) AND i.indrelid = to_regclass(t.relname)
        """),
        {"names": list(wanted)},
    )
    found = {
        name: GuardState(name, definition, _find_problem(wanted[name], table, unique, valid, columns, predicate))
        for name, table, unique, valid, columns, predicate, definition in rows
    }
    return {name: found.get(name, GuardState(name, None, "is missing")) for name in wanted}


def _find_problem(
    guard: Guard, table: str, is_unique: bool, is_valid: bool, columns: list[str], predicate: str | None
) -> str | None:
    if not is_unique:
        return "is not unique"
    if not is_valid:
        return "is not valid: it was never built to its end"
    if (table, tuple(columns), predicate) != (guard.table, guard.columns, guard.predicate):
        return "is about other columns or rows than it should be"
    return None
