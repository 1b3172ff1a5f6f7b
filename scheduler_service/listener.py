"""Listens for wake-ups on a connection of its own and reconnects for as long as it takes."""

import logging
import select
import threading
from collections.abc import Callable

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT
from sqlalchemy import Engine

from db.wake import CHANNEL, Wake

MAX_BACKOFF_SECONDS = 10.0
CHECK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class WakeListener(threading.Thread):
    """Calls `on_wake` for every notification, and once for all steps after each (re)connection."""

    def __init__(self, engine: Engine, on_wake: Callable[[Wake], None]) -> None:
        super().__init__(name="wake-listener", daemon=True)
        self._engine = engine
        self._on_wake = on_wake
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the thread within a second."""
        self._stopping.set()

    def run(self) -> None:
        """Listen until stopped."""
        backoff = 0.5
        while not self._stopping.is_set():
            try:
                self._listen()
                backoff = 0.5
            except psycopg2.Error as error:
                logger.warning("wake-ups interrupted, polling meanwhile: %s", str(error).strip().splitlines()[0])
                self._stopping.wait(backoff)
                backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)

    def _listen(self) -> None:
        arguments, keywords = self._engine.dialect.create_connect_args(self._engine.url)
        connection = psycopg2.connect(*arguments, **keywords, application_name="punctual listener")
        try:
            connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
            for wake in Wake:  # whatever was sent while nobody listened
                self._on_wake(wake)
            while not self._stopping.is_set():
                if select.select([connection], [], [], CHECK_SECONDS)[0]:
                    connection.poll()
                    for what in dict.fromkeys(n.payload for n in connection.notifies):
                        if what in set(Wake):
                            self._on_wake(Wake(what))
                    connection.notifies.clear()
        finally:
            connection.close()
