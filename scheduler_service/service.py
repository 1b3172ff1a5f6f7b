"""The service: APScheduler as the clock, our tables as the truth.

Each step below does one unit of work and may be called at any time; the clock, a wake-up and the safety
polls all lead to the same calls. A step that fails is logged and tried again.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.aiming import aim_anew
from db.claiming import claim_runs, get_earliest_run_after
from db.claims import recover_runs
from db.encryption import open_secret_box
from db.engine import transaction
from db.firing import get_earliest_next_run
from db.instances import get_last_zone_rules, record_fire_pass, record_seen, record_stopped, register_instance
from db.orphaned_files import forget_files, list_orphaned_files
from db.outages import NOTICED_AFTER, note_outage
from db.sign_in_throttle import purge_sign_in_attempts
from db.user_sessions import purge_sessions
from db.wake import Wake
from portal_import.engine.storage import StorageError, remove_files, remove_unfinished
from recurrence import zone_rules_version
from scheduler_service.clock import Clock, Step
from scheduler_service.firing import fire_backlog, give_up_late_runs, rehearse
from scheduler_service.history import HistoryPurge, count_for_a_turn
from scheduler_service.listener import WakeListener
from scheduler_service.outages import describe_outage
from scheduler_service.slots import LocalSlots, Slots
from settings import VERSION, Settings

FIRE_POLL_SECONDS = 30
CLAIM_POLL_SECONDS = 5
REHEARSE_SECONDS = 60
LEASE_TICK_SECONDS = 1
HEARTBEAT_SECONDS = 5
RECOVER_SECONDS = 5
PURGE_SECONDS = 3600
COUNT_SECONDS = 15
COUNT_SOON = timedelta(seconds=1)  # after a run has ended; a burst of ends is counted together
PURGE_PAUSE = timedelta(seconds=8)  # between turns while much is left, so that it takes a fifth of the time
UNFINISHED_KEPT_SECONDS = 24 * 3600
ORPHANS_KEPT_SECONDS = 24 * 3600  # longer than any import takes to record what it stored
STOP_GRACE_SECONDS = 5
LONG_AGO = datetime.min.replace(tzinfo=UTC)
LOCKED_JOB_PAUSE = timedelta(seconds=0.25)
CONTENDED_CLAIM_PAUSE = timedelta(seconds=0.05)

logger = logging.getLogger(__name__)


class SchedulerService:
    """One scheduler_service process: holds the clock, the steps and the slots."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._draining = threading.Event()
        self._instance_id = ""
        self._last_fire_at = LONG_AGO
        self._slots = _make_slots(engine, settings, self._note_free_slot)
        self._clock = Clock(self._slots.executor)
        self._fire_step = Step("fire", self.fire, self._clock)
        self._claim_step = Step("claim", self.claim, self._clock)
        self._renew_step = Step("renew", self.renew, self._clock)
        self._count_step = Step("count", self.count, self._clock)
        self._purge_step = Step("purge", self.purge, self._clock)
        self._history_purge = HistoryPurge(engine, settings)
        self._listener = WakeListener(engine, self.wake)

    def start(self) -> None:
        """Register, start the fork server, the clock and the listener."""
        with transaction(self._engine) as session:
            note_outage(session, _now())
            has_other_zone_rules = get_last_zone_rules(session) != zone_rules_version()
            self._instance_id = register_instance(
                session,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=VERSION,
                slots=self._slots.size,
                now=_now(),
                key_marks=open_secret_box(self._settings).marks,
            )
        self._slots.start(self._clock, self._instance_id)
        self._clock.run_every(FIRE_POLL_SECONDS, self._fire_step)
        self._clock.run_every(CLAIM_POLL_SECONDS, self._claim_step)
        self._clock.run_every(REHEARSE_SECONDS, Step("rehearse", self.rehearse, self._clock))
        self._clock.run_every(LEASE_TICK_SECONDS, self._renew_step)
        self._clock.run_every(RECOVER_SECONDS, Step("recover", self.recover, self._clock))
        self._clock.run_every(HEARTBEAT_SECONDS, Step("heartbeat", self.heartbeat, self._clock))
        self._clock.run_every(COUNT_SECONDS, self._count_step)
        self._clock.run_every(PURGE_SECONDS, self._purge_step)
        self._clock.run_every(PURGE_SECONDS, Step("clean storage", self.clean_storage, self._clock))
        if has_other_zone_rules:
            self._clock.run_soon(Step("aim anew", self.aim_anew, self._clock))
        self._clock.start()
        self._listener.start()
        logger.info("scheduler %s is running with %s slots", self._instance_id, self._slots.size)

    def stop(self) -> None:
        """Drain: claim nothing more, give running children their grace, then return their runs to the queue."""
        self._draining.set()
        self._claim_step.wait_for_turn(STOP_GRACE_SECONDS)  # what it claims is drained too
        self._slots.drain(self._settings.drain_seconds)
        self._listener.stop()
        self._listener.join()
        self._clock.stop()
        try:
            with transaction(self._engine) as session:
                record_stopped(session, self._instance_id, _now())
        except SQLAlchemyError as error:
            logger.error("could not sign off: %s", describe_outage(error))
        logger.info("scheduler %s has stopped", self._instance_id)

    def wake(self, what: Wake) -> None:
        """Run the step that a wake-up is about, now. Runs to claim are no news while all slots are taken."""
        if what is Wake.CLAIM and self._slots.are_taken:
            return  # the slot that becomes free looks for them
        steps = {Wake.FIRE: self._fire_step, Wake.CLAIM: self._claim_step, Wake.STOP: self._renew_step}
        steps[what].wake()

    def fire(self) -> None:
        """Fire everything that is due, then aim at the earliest schedule to come."""
        if _now() - self._last_fire_at > NOTICED_AFTER:  # there is no outage while this process itself fires
            with transaction(self._engine) as session:
                note_outage(session, _now())
        done = fire_backlog(self._engine, self._draining)
        if done.queued:
            self._claim_step.take_turn()  # here and now: the way through another thread would take a millisecond
        fired_at = _now()
        with transaction(self._engine) as session:
            record_fire_pass(session, self._instance_id, fired_at)
            earliest = get_earliest_next_run(session)
        self._last_fire_at = fired_at
        if earliest is not None and earliest < _now() + timedelta(seconds=FIRE_POLL_SECONDS):
            # What is due and was not fired is locked: another scheduler fires it, or somebody edits it.
            soonest = _now() if done.due else _now() + LOCKED_JOB_PAUSE
            self._clock.run_at(self._fire_step, max(earliest, soonest))

    def claim(self) -> None:
        """Take queued runs for the free slots, have them executed, and aim at the next that waits for its time."""
        if self._draining.is_set():
            return
        held_until = time.monotonic() + self._lease.total_seconds()
        with transaction(self._engine) as session:
            free = self._slots.count_free(session)
            if free <= 0:
                return
            done = claim_runs(session, _now(), worker=self._slots.get_worker(), slots=free, lease=self._lease)
        self._slots.execute(done.claims, held_until)
        with transaction(self._engine) as session:
            earliest = get_earliest_run_after(session, _now())
        if done.is_contended:
            self._clock.run_at(self._claim_step, _now() + CONTENDED_CLAIM_PAUSE)
        elif earliest is not None and earliest < _now() + timedelta(seconds=CLAIM_POLL_SECONDS):
            self._clock.run_at(self._claim_step, earliest)

    def rehearse(self) -> None:
        """Keep what firing needs warm."""
        rehearse(self._engine)

    def renew(self) -> None:
        """Extend the leases of running runs; end those that were lost or asked to stop."""
        self._slots.renew()

    def recover(self) -> None:
        """Take back runs whose worker stopped answering; give up queued ones that waited too long to start."""
        with transaction(self._engine) as session:
            recovered = recover_runs(session, _now())
        with transaction(self._engine) as session:
            give_up_late_runs(session, _now())
        if recovered:
            logger.warning("recovered %s runs whose lease had run out", recovered)

    def heartbeat(self) -> None:
        """Show that this process lives."""
        with transaction(self._engine) as session:
            record_seen(session, self._instance_id, _now())

    def count(self) -> None:
        """Add the runs that have ended to the daily figures."""
        if count_for_a_turn(self._engine) and not self._draining.is_set():
            self._clock.run_at(self._count_step, _now() + COUNT_SOON)

    def purge(self) -> None:
        """Drop sign-in sessions and attempts that no longer count, and history that is older than it is kept."""
        with transaction(self._engine) as session:
            purge_sessions(session, _now())
            purge_sign_in_attempts(session, _now())
        if self._history_purge.take_turn(_now()) and not self._draining.is_set():
            self._clock.run_at(self._purge_step, _now() + PURGE_PAUSE)

    def clean_storage(self) -> None:
        """Remove the half files of runs that were killed while they wrote, and the files of deleted jobs."""
        storage_url = self._settings.effective_storage_url
        try:
            removed = remove_unfinished(storage_url, older_than_seconds=UNFINISHED_KEPT_SECONDS)
            orphans = self._remove_orphans(storage_url)
        except (OSError, StorageError) as error:
            logger.error("the bill storage could not be cleaned: %s", error)
            return
        if removed or orphans:
            logger.info("removed %s half files and %s of deleted jobs from the bill storage", removed, orphans)

    def _remove_orphans(self, storage_url: str) -> int:
        before = _now() - timedelta(seconds=ORPHANS_KEPT_SECONDS)
        with transaction(self._engine) as session:
            orphans = list_orphaned_files(session, before=before)
        gone = remove_files(storage_url, orphans, older_than_seconds=ORPHANS_KEPT_SECONDS)
        with transaction(self._engine) as session:
            forget_files(session, gone)
        return len(gone)

    def aim_anew(self) -> None:
        """Aim every schedule by the time zone rules of this process, which the last scheduler did not have."""
        last_id, changed = "", 0
        while last_id is not None and not self._draining.is_set():
            with transaction(self._engine) as session:
                count, last_id = aim_anew(session, _now(), after_id=last_id)
            changed += count
        logger.info("aimed the schedules by the time zone rules %s: next runs moved: %s", zone_rules_version(), changed)

    def _note_free_slot(self) -> None:
        if not self._draining.is_set():
            self._claim_step.wake()
            self._clock.run_at(self._count_step, _now() + COUNT_SOON)


def _make_slots(engine: Engine, settings: Settings, on_free: Callable[[], None]) -> Slots:
    """Where runs are executed: on this machine, or on a Dask cluster where one is named."""
    if settings.dask_scheduler is None or settings.slots == 0:
        return LocalSlots(engine, settings, on_free)
    from scheduler_service.cluster_slots import ClusterSlots  # an optional package, and 50 MB

    return ClusterSlots(settings.dask_scheduler, engine, settings, on_free)


def _now() -> datetime:
    return datetime.now(UTC)
