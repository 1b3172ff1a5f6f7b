"""A Postgres for benchmarks: the embedded one, on disk, with fsync on, as `make run` has it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from db.embedded import attach_server, detach_server
from db.engine import create_database_engine, normalise_url
from db.migrate import upgrade


@contextmanager
def fresh_server() -> Iterator[Path]:
    """An empty home with a running server; both are gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="punctual-bench-"))
    try:
        attach_server(home)
        yield home
    finally:
        detach_server(home)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def fresh_database(home: Path, name: str, *, pool_size: int = 5) -> Iterator[Engine]:
    """A database of that server with Punctual's tables and no rows."""
    server = create_database_engine(normalise_url(attach_server(home)), application="bench", pool_size=1)
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
        assert connection.scalar(text("SHOW fsync")) == "on"
    engine = create_database_engine(server.url.set(database=name), application="bench", pool_size=pool_size)
    try:
        upgrade(engine)
        yield engine
    finally:
        engine.dispose()
        with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        server.dispose()
