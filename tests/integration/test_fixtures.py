"""The test databases themselves: each test gets its own."""

import psycopg2
import pytest
from sqlalchemy import Engine, text


@pytest.mark.parametrize("round_", [1, 2])
def test_every_test_starts_with_no_rows(engine: Engine, round_: int) -> None:
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM portals")) == 0
        connection.execute(text("INSERT INTO portals (host) VALUES ('portal.example')"))


def test_empty_database_has_no_tables(empty_database_url: str) -> None:
    connection = psycopg2.connect(empty_database_url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        assert cursor.fetchone() == (0,)
    connection.close()
