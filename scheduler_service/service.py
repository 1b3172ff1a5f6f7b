"""The service: APScheduler as the clock, our tables as the truth.

Each step below does one unit of work and may be called at any time; the clock, a wake-up and the safety
polls all lead to the same calls. A step that fails is logged and tried again at the next poll.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.claims import claim_runs, recover_runs, renew_leases
from db.engine import transaction
from db.firing import BATCH_SIZE, fire_due_jobs, get_earliest_next_run
from db.instances import record_fire_pass, record_seen, record_stopped, register_instance
from db.sign_in_throttle import purge_sign_in_attempts
from db.user_sessions import purge_sessions
from db.wake import Wake
from scheduler_service.listener import WakeListener
from scheduler_service.supervision import EndCause, Supervisor, start_fork_server
from settings import VERSION, Settings

FIRE_POLL_SECONDS = 30
CLAIM_POLL_SECONDS = 5
LEASE_TICK_SECONDS = 1
HEARTBEAT_SECONDS = 5
RECOVER_SECONDS = 5
PURGE_SECONDS = 3600
STOP_GRACE_SECONDS = 5

logger = logging.getLogger(__name__)


class SchedulerService:
    """One scheduler_service process: holds the clock, the claims and their supervisors."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._supervisors: dict[int, Supervisor] = {}
        self._lock = threading.Lock()
        self._fire_lock = threading.Lock()
        self._claim_lock = threading.Lock()
        self._renew_lock = threading.Lock()
        self._draining = threading.Event()
        self._all_ended = threading.Condition(self._lock)
        self._instance_id = ""
        self._clock = BackgroundScheduler(
            timezone=UTC,
            executors={
                "default": ThreadPoolExecutor(12),
                "runs": ThreadPoolExecutor(max(1, settings.slots)),
            },
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 2},
        )
        self._listener = WakeListener(engine, self.wake)

    def start(self) -> None:
        """Register, start the fork server, the clock and the listener."""
        with transaction(self._engine) as session:
            self._instance_id = register_instance(
                session,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=VERSION,
                slots=self._settings.slots,
                now=_now(),
            )
        if self._settings.slots:
            start_fork_server()
        self._every(FIRE_POLL_SECONDS, self.fire)
        self._every(CLAIM_POLL_SECONDS, self.claim)
        self._every(LEASE_TICK_SECONDS, self.renew)
        self._every(RECOVER_SECONDS, self.recover)
        self._every(HEARTBEAT_SECONDS, self.heartbeat)
        self._every(PURGE_SECONDS, self.purge)
        self._clock.start()
        self._listener.start()
        logger.info("scheduler %s is running with %s slots", self._instance_id, self._settings.slots)

    def stop(self) -> None:
        """Drain: claim nothing more, give running children their grace, then return their runs to the queue."""
        self._draining.set()
        logger.info("draining: waiting up to %s s for running imports", self._settings.drain_seconds)
        if not self._wait_until_idle(self._settings.drain_seconds):
            for supervisor in self._list_supervisors():
                supervisor.end(EndCause.DRAIN)
            self._wait_until_idle(STOP_GRACE_SECONDS)
        self._listener.stop()
        self._clock.shutdown(wait=False)
        with transaction(self._engine) as session:
            record_stopped(session, self._instance_id, _now())
        logger.info("scheduler %s has stopped", self._instance_id)

    def wake(self, what: Wake) -> None:
        """Run the steps that a wake-up is about, now."""
        steps: dict[Wake, Callable[[], None]] = {Wake.FIRE: self.fire, Wake.CLAIM: self.claim, Wake.STOP: self.renew}
        self._run_at(steps[what], _now())

    def fire(self) -> None:
        """Fire everything that is due, then aim at the earliest schedule to come."""
        with self._fire_lock:
            queued = 0
            while True:
                with transaction(self._engine) as session:
                    done = fire_due_jobs(session, _now())
                queued += done.queued
                if done.due < BATCH_SIZE:
                    break
            with transaction(self._engine) as session:
                record_fire_pass(session, self._instance_id, _now())
                earliest = get_earliest_next_run(session)
        if queued:
            self._run_at(self.claim, _now())
        if earliest is not None and earliest < _now() + timedelta(seconds=FIRE_POLL_SECONDS):
            self._run_at(self.fire, max(earliest, _now()))

    def claim(self) -> None:
        """Take queued runs for the free slots and start supervising them."""
        with self._claim_lock:
            free = self._settings.slots - len(self._list_supervisors())
            if free <= 0 or self._draining.is_set():
                return
            with transaction(self._engine) as session:
                claims = claim_runs(session, _now(), worker=self._instance_id, slots=free, lease=self._lease)
            for claim in claims:
                supervisor = Supervisor(self._engine, claim)
                with self._lock:
                    self._supervisors[claim.run_id] = supervisor
                self._clock.add_job(supervisor.run, args=[self._forget], executor="runs", max_instances=1)

    def renew(self) -> None:
        """Extend the leases of running runs; end those that were lost or asked to stop."""
        with self._renew_lock:
            supervisors = self._list_supervisors()
            if not supervisors:
                return
            with transaction(self._engine) as session:
                held = {r.run_id: r for r in renew_leases(session, [s.claim for s in supervisors], _now(), self._lease)}
            for supervisor in supervisors:
                renewed = held.get(supervisor.claim.run_id)
                if renewed is not None and renewed.is_stop_requested:
                    supervisor.end(EndCause.STOP)
                elif renewed is None:
                    supervisor.end(EndCause.LEASE_LOST)

    def recover(self) -> None:
        """Take back runs whose worker stopped answering."""
        with transaction(self._engine) as session:
            recovered = recover_runs(session, _now())
        if recovered:
            logger.warning("recovered %s runs whose lease had run out", recovered)

    def heartbeat(self) -> None:
        """Show that this process lives."""
        with transaction(self._engine) as session:
            record_seen(session, self._instance_id, _now())

    def purge(self) -> None:
        """Drop sign-in sessions and attempts that no longer count."""
        with transaction(self._engine) as session:
            purge_sessions(session, _now())
            purge_sign_in_attempts(session, _now())

    def _every(self, seconds: int, step: Callable[[], None]) -> None:
        self._clock.add_job(
            _guarded(step), IntervalTrigger(seconds=seconds, timezone=UTC), id=step.__name__, next_run_time=_now()
        )

    def _run_at(self, step: Callable[[], None], at: datetime) -> None:
        """Bring the step's next turn forward; never push it back."""
        job = self._clock.get_job(step.__name__)
        if job is not None and (job.next_run_time is None or job.next_run_time > at):
            job.modify(next_run_time=at)

    def _list_supervisors(self) -> list[Supervisor]:
        with self._lock:
            return list(self._supervisors.values())

    def _forget(self, supervisor: Supervisor) -> None:
        with self._lock:
            self._supervisors.pop(supervisor.claim.run_id, None)
            self._all_ended.notify_all()
        if not self._draining.is_set():
            self._run_at(self.claim, _now())

    def _wait_until_idle(self, seconds: float) -> bool:
        with self._all_ended:
            return self._all_ended.wait_for(lambda: not self._supervisors, timeout=seconds)


def _guarded(step: Callable[[], None]) -> Callable[[], None]:
    """The step, with a database that is away for a moment told in one line."""

    def run() -> None:
        try:
            step()
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            logger.error("%s failed, will be tried again: %s", step.__name__, str(cause).strip().splitlines()[0])

    return run


def _now() -> datetime:
    return datetime.now(UTC)
