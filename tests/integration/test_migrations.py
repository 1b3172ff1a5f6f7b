"""Migrated tables are the models' tables, whole and in detail, and upgrading is safe to repeat and to race."""


from sqlalchemy import Engine, create_engine

from db.engine import normalise_url
from db.models import Base
from tests.catalogue import constraints_and_indexes, differences_from_models


def test_migrated_tables_are_those_of_the_models(engine: Engine) -> None:
    assert differences_from_models(engine) == []


def test_checks_and_partial_indexes_are_those_of_the_models(engine: Engine, empty_database_url: str) -> None:
    created = create_engine(normalise_url(empty_database_url))
    Base.metadata.create_all(created)
    expected = constraints_and_indexes(created)
    created.dispose()
    assert constraints_and_indexes(engine) == expected
    assert len(expected) > 60
