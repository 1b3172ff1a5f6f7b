"""The Postgres that tests run on: one server a run, a migrated template, and a clone of it per test.

All worker processes of one run share the server. Each holds a shared file lock while it uses it, so the
last one out removes everything, and the next run removes what a killed run left behind.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql
from sqlalchemy import URL

from db.embedded import attach_server, detach_server
from db.engine import create_database_engine, normalise_url
from db.migrate import upgrade

MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps files in memory
STOP_DEADLINE_SECONDS = 10
ROOM_BYTES = 2 * 1024**3
POSTGRES_15 = 150000
FASTER_NOT_SAFER = ("fsync", "synchronous_commit", "full_page_writes")


def roomy_folder() -> Path:
    """Memory where there is enough of it: a busy disk makes a clone cost 350 ms instead of 20."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        return MEMORY
    return Path(tempfile.gettempdir())


HOMES = roomy_folder() / f"punctual-tests-{os.getuid()}"


class TestServer:
    """A running server, with a template database that holds the tables and no rows."""

    __test__ = False

    def __init__(self, maintenance_url: URL, run: str, worker: str) -> None:
        self._url = maintenance_url
        self._run = run
        self._prefix = f"{database_prefix(run)}{worker}_"
        self._made = 0
        self._finished: list[str] = []

    @property
    def template(self) -> str:
        return f"{database_prefix(self._run)}template"

    def create(self, template: str = "template0") -> str:
        """A new database, a copy of `template`; returns its address in libpq's spelling."""
        self._made += 1
        name = f"{self._prefix}{self._made}"
        with cursor_on(self._url) as cursor:
            # Measured: 20 ms as a copy of the files, 31 through the log; checkpoints cost little without fsync.
            copying = "STRATEGY file_copy" if cursor.connection.server_version >= POSTGRES_15 else ""
            cursor.execute(
                sql.SQL(f"CREATE DATABASE {{}} TEMPLATE {{}} {copying}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return address_of(self._url, name)

    def finish(self, address: str) -> None:
        """Drop the database, one test later: a backend that is still ending would cost 100 ms."""
        self._finished.append(normalise_url(address).database or "")
        while len(self._finished) > 1:
            self._drop(self._finished.pop(0))

    def drop_now(self, address: str) -> None:
        """Take the database away from whoever uses it."""
        self._drop(normalise_url(address).database or "")

    def drop_finished(self) -> None:
        while self._finished:
            self._drop(self._finished.pop())

    def ensure_template(self) -> None:
        with cursor_on(self._url) as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self.template,))
            if cursor.fetchone() is not None:
                return
            building = f"{self.template}_building"
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(building)))
            create_tables(self._url.set(database=building))
            # The name appears only when the tables are complete.
            cursor.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(building), sql.Identifier(self.template)
                )
            )

    def _drop(self, name: str) -> None:
        with cursor_on(self._url) as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def shared_server(given_url: str | None, run: str, worker: str) -> Iterator[TestServer]:
    """The run's server: `given_url`, or an embedded one that starts with the first worker and ends with the last."""
    home = HOMES / f"run-{run}"
    with guarded():
        remove_abandoned_homes(given_url)
        home.mkdir(exist_ok=True)
        in_use = os.open(home / "in-use.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(in_use, fcntl.LOCK_SH)
        url = normalise_url(given_url or attach_server(home))
        if given_url is None:
            url = url.set(database="postgres")
            trade_safety_for_speed(url)
        server = TestServer(url, run, worker)
        server.ensure_template()
    try:
        yield server
    finally:
        server.drop_finished()
        with guarded():
            if given_url is None:
                detach_server(home)
            if is_last_user(in_use):
                remove_home(home, given_url)
            os.close(in_use)


def create_tables(url: URL) -> None:
    engine = create_database_engine(url, application="tests")
    upgrade(engine)
    engine.dispose()


def trade_safety_for_speed(url: URL) -> None:
    with cursor_on(url) as cursor:
        for setting in FASTER_NOT_SAFER:
            cursor.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        cursor.execute("SELECT pg_reload_conf()")


def database_prefix(run: str) -> str:
    return f"punctual_test_{run[:16]}_"


def address_of(url: URL, database: str) -> str:
    """As libpq, `DATABASE_URL` and SQLAlchemy all read it."""
    return url.set(drivername="postgresql", database=database).render_as_string(hide_password=False)


@contextlib.contextmanager
def cursor_on(url: URL) -> Iterator["psycopg2.extensions.cursor"]:
    """A cursor outside any transaction, as CREATE DATABASE needs."""
    connection = psycopg2.connect(address_of(url, url.database or "postgres"))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """One process at a time starts or removes servers, so none is removed while another starts to use it."""
    HOMES.mkdir(mode=0o711, exist_ok=True)
    lock = os.open(HOMES / "guard.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def is_last_user(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_abandoned_homes(given_url: str | None) -> None:
    """What runs that were killed left behind: their lock went with them."""
    for home in HOMES.glob("run-*"):
        lock = os.open(home / "in-use.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if is_last_user(lock):
                stop_postmaster(home / "postgres")
                remove_home(home, given_url)
        finally:
            os.close(lock)


def remove_home(home: Path, given_url: str | None) -> None:
    if given_url is not None:
        drop_databases_of(home.name.removeprefix("run-"), given_url)
    shutil.rmtree(home)


def drop_databases_of(run: str, given_url: str) -> None:
    with cursor_on(normalise_url(given_url)) as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (database_prefix(run),))
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def stop_postmaster(data: Path) -> None:
    """End a server that outlived its run, if the process of that number is still that server."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        process = psutil.Process(pid)
        if str(data) in process.cmdline():
            process.send_signal(signal.SIGQUIT)
            deadline = time.monotonic() + STOP_DEADLINE_SECONDS
            # A server that has ended stays a zombie until init gets to it.
            while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
                time.sleep(0.01)
    except (FileNotFoundError, psutil.NoSuchProcess):
        return
