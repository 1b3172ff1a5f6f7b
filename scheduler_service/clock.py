"""The clock: an APScheduler that holds our own steps in memory, and the threads they run in.

It never holds a user's schedule. The turns of one step never run side by side, and a wake-up is never
lost: it leads to a turn that starts after it came.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.base import BaseExecutor  # pyright: ignore[reportMissingTypeStubs]
from apscheduler.executors.pool import ThreadPoolExecutor  # pyright: ignore[reportMissingTypeStubs]
from apscheduler.schedulers.background import BackgroundScheduler  # pyright: ignore[reportMissingTypeStubs]
from apscheduler.triggers.date import DateTrigger  # pyright: ignore[reportMissingTypeStubs]
from apscheduler.triggers.interval import IntervalTrigger  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy.exc import SQLAlchemyError

from scheduler_service.outages import describe_outage

RETRY_AFTER = timedelta(seconds=2)
STEP_THREADS = 33  # each of eleven steps, one of them only with Dask, has at most one turn running and two waiting
POLL = "poll"
JUMP_CHECK_SECONDS = 1.0
SMALLEST_JUMP_SECONDS = 1.0  # of the wall clock; what is smaller delays no poll by more
NEVER_SKIPPED = 1_000_000  # APScheduler drops a turn when this many of it are running

logger = logging.getLogger(__name__)


class Step:
    """One kind of work, done in turns."""

    def __init__(self, name: str, work: Callable[[], None], clock: "Clock") -> None:
        self.name = name
        self._work = work
        self._clock = clock
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._is_woken = False
        self._outage: str | None = None

    def wake(self) -> None:
        """Take a turn now; after the running one, if there is one."""
        with self._lock:
            if self._is_woken:
                return  # a turn is about to start, and will see what this wake-up is about
            self._is_woken = True
        self._clock.run_soon(self)

    def take_turn(self) -> None:
        """Do the work once. When the database fails, say so once and try again soon."""
        with self._turn:
            with self._lock:
                self._is_woken = False
            try:
                self._work()
            except SQLAlchemyError as error:
                self._note_outage(describe_outage(error))
                self._clock.run_at(self, datetime.now(UTC) + RETRY_AFTER)
            else:
                self._note_outage(None)

    def wait_for_turn(self, seconds: float) -> None:
        """Return once the turn that is running now has ended, or after that time."""
        if self._turn.acquire(timeout=seconds):
            self._turn.release()

    def _note_outage(self, outage: str | None) -> None:
        if outage is not None and outage != self._outage:
            logger.error("%s failed, will be tried again: %s", self.name, outage)
        elif outage is None and self._outage is not None:
            logger.info("%s works again", self.name)
        self._outage = outage


class Clock:
    """Gives steps their turns, and runs their supervisors."""

    def __init__(self, runs: BaseExecutor) -> None:
        executors = {"default": ThreadPoolExecutor(STEP_THREADS), "runs": runs}
        defaults = {"coalesce": True, "misfire_grace_time": None}
        self._scheduler: Any = BackgroundScheduler(timezone=UTC, executors=executors, job_defaults=defaults)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start giving turns."""
        self._scheduler.start()
        threading.Thread(target=self._watch_wall_clock, name="wall-clock", daemon=True).start()

    def stop(self) -> None:
        """Give no more turns; those that are running end by themselves. A second time it does nothing."""
        self._stopping.set()
        if self._scheduler.running:
            # A pass of its thread that is under way when it is shut down no longer finds its own jobs, and dies of it.
            self._scheduler.pause()
            self._scheduler.get_jobs()  # returns when no pass is under way
            self._scheduler.shutdown(wait=False)

    def run_every(self, seconds: int, step: Step) -> None:
        """A turn at once and then at this interval, left out while an earlier one still runs."""
        every = IntervalTrigger(seconds=seconds, timezone=UTC)
        now = datetime.now(UTC)
        self._scheduler.add_job(step.take_turn, every, id=f"{step.name}: {POLL}", next_run_time=now, max_instances=1)

    def run_soon(self, step: Step) -> None:
        """One turn, now."""
        self._add_once(step, "wake", datetime.now(UTC))

    def run_at(self, step: Step, instant: datetime) -> None:
        """One turn at that instant, in place of the one that was asked for before."""
        self._add_once(step, "aim", instant)

    def run_in_slot(self, supervise: Callable[..., object], *args: object, name: str | None = None) -> None:
        """Supervise a run where runs are executed."""
        self._scheduler.add_job(supervise, args=args, executor="runs", id=name)

    def _watch_wall_clock(self) -> None:
        """APScheduler aims by the wall clock: one that is set back an hour would leave all polls an hour away."""
        distance = _wall_from_monotonic()
        while not self._stopping.wait(JUMP_CHECK_SECONDS):
            seconds = _wall_from_monotonic() - distance
            if abs(seconds) >= SMALLEST_JUMP_SECONDS:
                distance += seconds
                logger.warning("the wall clock jumped by %.0f s; all polls start anew", seconds)
                for job in self._scheduler.get_jobs():
                    if job.id.endswith(f": {POLL}"):
                        job.modify(next_run_time=datetime.now(UTC))

    def _add_once(self, step: Step, purpose: str, instant: datetime) -> None:
        self._scheduler.add_job(
            step.take_turn,
            DateTrigger(instant, timezone=UTC),
            id=f"{step.name}: {purpose}",
            replace_existing=True,
            max_instances=NEVER_SKIPPED,
        )


def _wall_from_monotonic() -> float:
    """Seconds from the monotonic clock to the wall clock: the same for as long as the latter is not stepped."""
    return datetime.now(UTC).timestamp() - time.monotonic()
