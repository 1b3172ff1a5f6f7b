"""All that is stored, to see that a request wrote nothing."""

from typing import Any

from sqlalchemy import Engine, select

from db.engine import transaction
from db.models import Base


def read_everything(engine: Engine) -> dict[str, list[Any]]:
    """Every row of every table."""
    with transaction(engine) as session:
        return {
            table.name: sorted(map(repr, session.execute(select(table)).all())) for table in Base.metadata.sorted_tables
        }
