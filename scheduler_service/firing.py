"""Fire all that is due. A backlog takes two lanes: while the database writes one batch, the next one is planned.

Lanes do not know of each other. Like two schedulers, each leaves alone what the other has locked.
"""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.claiming import EXPIRE_BATCH, expire_runs
from db.engine import transaction
from db.firing import BATCH_SIZE, FirePass, fire_due_jobs

LANES = 2

logger = logging.getLogger(__name__)


def fire_backlog(engine: Engine, is_stopping: threading.Event) -> FirePass:
    """Fire batch after batch until nothing is due that is not locked. Raises what a batch raises."""
    with transaction(engine) as session:
        # First: a run that can no longer start must not keep its job's next occurrence from firing.
        give_up_late_runs(session, datetime.now(UTC))
        first = fire_due_jobs(session, datetime.now(UTC))
    if first.due < BATCH_SIZE or is_stopping.is_set():
        return first
    with ThreadPoolExecutor(LANES, thread_name_prefix="fire") as lanes:
        waiting = [lanes.submit(_fire_lane, engine, is_stopping) for _ in range(LANES)]
        return _add([first, *(lane.result() for lane in waiting)])


def give_up_late_runs(session: Session, now: datetime) -> None:
    """Give up all queued runs that waited too long to start."""
    expired = batch = expire_runs(session, now)
    while batch == EXPIRE_BATCH:
        batch = expire_runs(session, now)
        expired += batch
    if expired:
        logger.warning("%s queued runs were not started within their start window", expired)


def _fire_lane(engine: Engine, is_stopping: threading.Event) -> FirePass:
    done: list[FirePass] = []
    while not is_stopping.is_set():
        with transaction(engine) as session:
            done.append(fire_due_jobs(session, datetime.now(UTC)))
        if done[-1].due < BATCH_SIZE:
            break
    return _add(done)


def _add(passes: Sequence[FirePass]) -> FirePass:
    return FirePass(due=sum(p.due for p in passes), queued=sum(p.queued for p in passes))
