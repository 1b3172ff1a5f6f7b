"""Listens for wake-ups on a connection of its own and reconnects for as long as it takes."""

import logging
import select
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.wake import CHANNEL, Wake
from scheduler_service.outages import describe_outage

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 10.0
CHECK_SECONDS = 0.5

logger = logging.getLogger(__name__)


class WakeListener(threading.Thread):
    """Calls `on_wake` for every notification, and once for all steps after each (re)connection."""

    def __init__(self, engine: Engine, on_wake: Callable[[Wake], None]) -> None:
        super().__init__(name="wake-listener", daemon=True)
        self._engine = engine
        self._on_wake = on_wake
        self._stopping = threading.Event()
        self._backoff = FIRST_BACKOFF_SECONDS

    def stop(self) -> None:
        """End the thread within a second."""
        self._stopping.set()

    def run(self) -> None:
        """Listen until stopped."""
        while not self._stopping.is_set():
            try:
                self._listen()
            except (psycopg2.Error, SQLAlchemyError, OSError) as error:
                logger.warning("wake-ups interrupted, polling meanwhile: %s", describe_outage(error))
                self._stopping.wait(self._backoff)
                self._backoff = min(self._backoff * 2, MAX_BACKOFF_SECONDS)

    def _listen(self) -> None:
        with _connect(self._engine) as connection:
            self._backoff = FIRST_BACKOFF_SECONDS
            for wake in Wake:  # whatever was sent while nobody listened
                self._on_wake(wake)
            arrivals = select.poll()  # unlike select.select, it takes descriptors above 1023
            arrivals.register(connection, select.POLLIN)
            while not self._stopping.is_set():
                if arrivals.poll(CHECK_SECONDS * 1000):
                    connection.poll()
                    notified = {notification.payload for notification in connection.notifies}
                    connection.notifies.clear()
                    for wake in Wake:
                        if wake in notified:
                            self._on_wake(wake)


@contextmanager
def _connect(engine: Engine) -> Generator[Any]:
    """A connection that listens, made like the engine's but not one of its pool's."""
    pooled = engine.raw_connection()
    connection: Any = pooled.driver_connection
    pooled.detach()
    with closing(connection):
        connection.rollback()
        connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        with connection.cursor() as cursor:
            cursor.execute("SET application_name TO 'punctual listener'")
            cursor.execute(f"LISTEN {CHANNEL}")
        yield connection
