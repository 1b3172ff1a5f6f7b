"""History in the background: ended runs are counted into the daily figures, old ones are removed.

Each turn works through small transactions for a bounded time and says whether anything is left, so that
neither a first count of ten million runs nor a large purge keeps anything else waiting.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db import daily_figures, retention
from db.daily_figures import count_ended_runs
from db.engine import transaction
from db.models import History
from db.retention import PurgedBatch, purge_log, purge_runs
from settings import Settings

TURN_SECONDS = 2.0
LOCK_NOT_AVAILABLE = "55P03"

logger = logging.getLogger(__name__)

PurgeBatch = Callable[[Session, datetime, int], PurgedBatch]


def count_for_a_turn(engine: Engine, *, seconds: float = TURN_SECONDS) -> bool:
    """Count ended runs; True when more may be left than there was time for."""
    deadline = time.monotonic() + seconds
    while True:
        with transaction(engine) as session:
            counted = count_ended_runs(session)
        if counted < daily_figures.BATCH_SIZE:
            return False
        if time.monotonic() >= deadline:
            return True


class HistoryPurge:
    """Removes what is older than the settings say, from where its last turn ended."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._kept_days = {History.RUNS: settings.keep_runs_days, History.LOG: settings.keep_log_days}
        self._reached = dict.fromkeys(History, 0)

    def take_turn(self, now: datetime, *, seconds: float = TURN_SECONDS) -> bool:
        """Purge each kind of history for half of that time; True when more is left."""
        is_left = False
        for history, purge in _PURGES.items():
            if self._kept_days[history]:
                before = now - timedelta(days=self._kept_days[history])
                is_left |= self._purge(history, purge, before, time.monotonic() + seconds / 2)
        return is_left

    def _purge(self, history: History, purge: PurgeBatch, before: datetime, deadline: float) -> bool:
        removed = 0
        try:
            while True:
                with transaction(self._engine) as session:
                    batch = purge(session, before, self._reached[history])
                removed += batch.removed
                self._reached[history] = batch.last_id or 0
                if batch.last_id is None or time.monotonic() >= deadline:
                    return batch.last_id is not None
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) != LOCK_NOT_AVAILABLE:
                raise
            return True  # somebody uses a row of this batch: the next turn tries it again
        finally:
            if removed:
                logger.info("removed old %s: %s rows of before %s", history, removed, before.isoformat())


def _purge_runs(session: Session, before: datetime, after_id: int) -> PurgedBatch:
    return purge_runs(session, before=before, after_id=after_id, limit=retention.BATCH_ROWS)


def _purge_log(session: Session, before: datetime, after_id: int) -> PurgedBatch:
    return purge_log(session, before=before, after_id=after_id, limit=retention.BATCH_ROWS)


_PURGES: dict[History, PurgeBatch] = {History.RUNS: _purge_runs, History.LOG: _purge_log}
