"""How Alembic compares a database with the models, for new migrations and for the test that they agree."""

from typing import Any

from alembic.ddl.postgresql import PostgresqlImpl

from db.migrate import VERSION_TABLE
from db.models import Base

RANDOM = "gen_random_uuid()"


class Comparison(PostgresqlImpl):
    """Registers itself for Postgres. Alembic compares the values of defaults, and two random ones never agree."""

    __dialect__ = "postgresql"

    def compare_server_default(
        self,
        inspector_column: Any,
        metadata_column: Any,
        rendered_metadata_default: str | None,
        rendered_inspector_default: str | None,
    ) -> bool:
        if RANDOM in (rendered_metadata_default or "") and RANDOM in (rendered_inspector_default or ""):
            return False
        return super().compare_server_default(
            inspector_column, metadata_column, rendered_metadata_default, rendered_inspector_default
        )


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Other tables of a shared database are nobody's business here."""
    return kind != "table" or name in Base.metadata.tables


OPTIONS: dict[str, Any] = {
    "version_table": VERSION_TABLE,
    "target_metadata": Base.metadata,
    "include_name": is_ours,
    "compare_type": True,
    "compare_server_default": True,
}
