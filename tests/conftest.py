"""Fixtures that every test may use: real databases, made in milliseconds from a migrated template."""

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from db.engine import create_database_engine, normalise_url
from tests.postgres import TestServer, shared_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """The run's server: `TEST_DATABASE_URL`, or an embedded one shared by all workers."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"pid{os.getpid()}"
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    with shared_server(os.environ.get("TEST_DATABASE_URL"), run, worker) as server:
        yield server


@pytest.fixture
def database_url(postgres: TestServer) -> Iterator[str]:
    """A database of this test's own, with all tables and no rows."""
    address = postgres.create(postgres.template)
    yield address
    postgres.finish(address)


@pytest.fixture
def empty_database_url(postgres: TestServer) -> Iterator[str]:
    """A database of this test's own, with no tables."""
    address = postgres.create()
    yield address
    postgres.finish(address)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`."""
    engine = create_database_engine(normalise_url(database_url), application="tests")
    yield engine
    engine.dispose()
