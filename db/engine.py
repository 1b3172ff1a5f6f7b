"""Connections: which database this process uses, its engine, and transactions on it."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from db.embedded import attach_server
from settings import InvalidSettingsError, Settings, get_settings

CONNECT_TIMEOUT_SECONDS = 5

_EXAMPLE = "it looks like postgresql://user:password@host:5432/name"


def resolve_url(settings: Settings) -> URL:
    """The database URL with its driver: `DATABASE_URL`, or the embedded server, started if needed.

    Raises InvalidSettingsError when `DATABASE_URL` is not a Postgres URL.
    """
    if settings.database_url is None:
        return normalise_url(attach_server(settings.home))
    return normalise_url(settings.database_url.get_secret_value())


def normalise_url(text: str) -> URL:
    """`postgres://…` and `postgresql://…` in any driver's spelling become psycopg2's."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InvalidSettingsError(f"DATABASE_URL: not a database address; {_EXAMPLE}") from None
    if url.get_backend_name() not in ("postgres", "postgresql"):
        raise InvalidSettingsError(f'DATABASE_URL: found "{url.get_backend_name()}"; Punctual needs postgresql://…')
    if "@" in (url.host or ""):
        raise InvalidSettingsError("DATABASE_URL: write @ as %40 and : as %3A in the user name and password")
    return url.set(drivername="postgresql+psycopg2")


def create_database_engine(url: URL, *, application: str, pool_size: int = 5) -> Engine:
    """An engine whose connections speak UTC, name themselves and give up on a silent server."""
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_recycle=1800,
        pool_use_lifo=True,  # a connection that was used a moment ago answers its first statement sooner
        hide_parameters=True,  # an error in a log shows the statement, never a row
        connect_args={
            "application_name": f"punctual {application}",
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,  # milliseconds; a server that fell silent is noticed
            "options": "-c timezone=UTC -c jit=off -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
        },
    )


@lru_cache(maxsize=1)
def get_engine() -> Engine:
    """The engine of this process, made at first use from its settings."""
    return create_database_engine(resolve_url(get_settings()), application="web", pool_size=10)


@contextmanager
def transaction(engine: Engine | None = None) -> Generator[Session]:
    """A session whose work is committed at the end, or rolled back when an error leaves the block."""
    with Session(engine or get_engine(), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def snapshot(engine: Engine | None = None) -> Generator[Session]:
    """A session that only reads, and all of whose statements see the database as the first of them saw it.

    For a view that tells several things of a run that goes on: read one after the other, they could contradict.
    """
    with Session(engine or get_engine(), expire_on_commit=False) as session, session.begin():
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        session.connection(execution_options=options)
        yield session
