"""Fire all that is due. A backlog takes a second lane: while the database writes one batch, the next is planned.

Lanes do not know of each other. Like two schedulers, each leaves alone what the other has locked.
"""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.claiming import EXPIRE_BATCH, expire_runs
from db.engine import transaction
from db.firing import BATCH_SIZE, FirePass, fire_due_jobs, rehearse_firing

logger = logging.getLogger(__name__)


def fire_backlog(engine: Engine, is_stopping: threading.Event) -> FirePass:
    """Fire batch after batch until nothing is due that is not locked. Raises what a batch raises."""
    with ThreadPoolExecutor(1, thread_name_prefix="fire") as pool:
        second: list[Future[FirePass]] = []

        def open_second_lane() -> None:
            if not is_stopping.is_set():
                second.append(pool.submit(_fire_lane, engine, is_stopping))

        with transaction(engine) as session:
            # First: a run that can no longer start must not keep its job's next occurrence from firing.
            give_up_late_runs(session, datetime.now(UTC))
            done = [fire_due_jobs(session, datetime.now(UTC), on_full=open_second_lane)]
        if done[0].due == BATCH_SIZE:
            done.append(_fire_lane(engine, is_stopping))
        done += [lane.result() for lane in second]
    return FirePass(due=sum(p.due for p in done), queued=sum(p.queued for p in done))


def rehearse(engine: Engine) -> None:
    """Have both lanes find their connections open, and warm, when a backlog comes."""
    with transaction(engine) as first, transaction(engine) as second:
        for session in (first, second):
            rehearse_firing(session, datetime.now(UTC))


def give_up_late_runs(session: Session, now: datetime) -> None:
    """Give up all queued runs that waited too long to start."""
    expired = batch = expire_runs(session, now)
    while batch == EXPIRE_BATCH:
        batch = expire_runs(session, now)
        expired += batch
    if expired:
        logger.warning("%s queued runs were not started within their start window", expired)


def _fire_lane(engine: Engine, is_stopping: threading.Event) -> FirePass:
    due = queued = 0
    while not is_stopping.is_set():
        with transaction(engine) as session:
            done = fire_due_jobs(session, datetime.now(UTC))
        due, queued = due + done.due, queued + done.queued
        if done.due < BATCH_SIZE:
            break
    return FirePass(due, queued)
