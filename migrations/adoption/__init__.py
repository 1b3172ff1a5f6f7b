"""Adopts the tables of an earlier system in place: every row and id is kept, and so is what others added.

`find_old_tables` looks and refuses before anything changes. `loosen` takes off what the old tables' types and
names were tied to, `adopt` reshapes and fills one table, `tie` puts back the foreign keys of other tables.
"""

from sqlalchemy import Connection

from migrations.adoption.job_rows import fill_jobs
from migrations.adoption.old_tables import OldTables, find_old_tables
from migrations.adoption.reshaping import add_columns, complete_table, loosen, tie
from migrations.adoption.result_rows import fill_results
from migrations.adoption.user_rows import fill_users

__all__ = ["OldTables", "adopt", "find_old_tables", "loosen", "tie"]

FILL = {"users": fill_users, "import_sessions": fill_jobs, "import_results": fill_results}


def adopt(connection: Connection, old: OldTables, table: str) -> None:
    """Give the old table all columns of ours, values in them, and then our constraints and indexes."""
    add_columns(old[table])
    FILL[table](connection, old)
    complete_table(connection, old[table])
