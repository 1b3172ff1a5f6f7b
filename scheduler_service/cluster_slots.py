"""Slots on a Dask cluster: as many as its fit workers have threads, shared by every scheduler_service that uses it.

A claim is renewed here only until a worker has taken it over. From then on the run is the worker's: it goes on when
this process ends, and is recovered like any other when the worker does.
"""

# pyright: reportMissingTypeArgument=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# distributed and APScheduler are typed in part only.

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from socket import gethostname

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db.claiming import Claim
from db.claims import renew_leases, requeue_run
from db.clusters import count_running_on
from db.engine import transaction
from db.instances import record_slots
from db.worker_names import name_cluster_worker
from scheduler_service.clock import Clock, Step
from scheduler_service.dask_cluster import ClusterAwayError, DaskCluster
from scheduler_service.dask_executor import DaskExecutor
from scheduler_service.dask_installation import describe_installation
from scheduler_service.dask_orders import ClusterOrder, supervise_on_worker
from scheduler_service.outages import describe_outage
from settings import Settings

WATCH_SECONDS = 1
PAUSE_SECONDS = 2.0  # after a worker refused a run: no claims in a circle

logger = logging.getLogger(__name__)


@dataclass
class Waiting:
    """A claim that no worker has taken over yet, those that may, and why none will, once that is known."""

    claim: Claim
    workers: frozenset[str]
    refusal: str | None = None


class ClusterSlots:
    """The service's side of runs that are executed on Dask workers."""

    def __init__(self, address: str, engine: Engine, settings: Settings, on_free: Callable[[], None]) -> None:
        self._engine = engine
        self._settings = settings
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._on_free = on_free
        self._cluster = DaskCluster(address)
        self._lock = threading.Lock()
        self._waiting: dict[str, Waiting] = {}  # by lease token, which is also the name of the task
        self._pause_until = 0.0
        self._instance_id = ""
        self._recorded_name: str | None = None
        self._clock: Clock | None = None
        self.executor = DaskExecutor(self._cluster, self._note_end)
        self.size = 0

    def start(self, clock: Clock, instance_id: str) -> None:
        """Watch the cluster from now on. It may be away."""
        self._clock = clock
        self._instance_id = instance_id
        self._cluster.introduce(describe_installation(instance_id, self._settings))
        clock.run_every(WATCH_SECONDS, Step("watch the Dask cluster", self.watch, clock))

    def watch(self) -> None:
        """See how many slots there are now."""
        self._cluster.refresh()
        size, name = self._cluster.threads, self._cluster.name
        if (size, name) == (self.size, self._recorded_name):
            return
        with transaction(self._engine) as session:
            record_slots(session, self._instance_id, size, cluster=name)
        self._recorded_name = name
        if size != self.size:
            logger.info("slots on the Dask cluster: %s", size)
            self.size = size
            self._on_free()

    def get_worker(self) -> str:
        """Somebody on this machine, for the cluster: the run counts as the cluster's from its claim on."""
        return name_cluster_worker(f"{gethostname()} (waiting for a Dask worker)", self._cluster.name or "")

    @property
    def are_taken(self) -> bool:
        """Whether the cluster has no threads: only the database knows who uses them."""
        return self.size == 0

    def count_free(self, session: Session) -> int:
        """The threads without a run, whoever sent it there."""
        name = self._cluster.name
        if name is None or not self._cluster.threads or time.monotonic() < self._pause_until:
            return 0
        return self._cluster.threads - count_running_on(session, name)

    def execute(self, claims: Sequence[Claim], held_until: float) -> None:
        """Send the runs to the cluster."""
        assert self._clock is not None, "not started"
        workers = self._cluster.fit_workers
        for claim in claims:
            token = str(claim.lease_token)
            with self._lock:
                self._waiting[token] = Waiting(claim, workers)
            order = ClusterOrder(claim.run_id, claim.lease_token, self._cluster.name or "")
            self._clock.run_in_slot(supervise_on_worker, order, name=token)

    def renew(self) -> None:
        """Keep the leases of runs that wait for a worker; give back those that no worker will take."""
        with self._lock:
            waiting = dict(self._waiting)
        if not waiting:
            return
        here = self._cluster.workers
        for entry in waiting.values():
            if not entry.workers & here:
                entry.refusal = entry.refusal or str(ClusterAwayError())
        with transaction(self._engine) as session:
            claims = [entry.claim for entry in waiting.values() if entry.refusal is None]
            held = {str(r.lease_token): r for r in renew_leases(session, claims, datetime.now(UTC), self._lease)}
        for token, lease in held.items():
            if lease.is_stop_requested:
                waiting[token].refusal = "stopped before a Dask worker took it"
        self._give_back([entry for entry in waiting.values() if entry.refusal is not None])
        with self._lock:
            for token in waiting.keys() - {t for t, lease in held.items() if not lease.is_stop_requested}:
                self._waiting.pop(token, None)

    def drain(self, grace_seconds: float) -> None:
        """Give back what no worker has taken; what the workers have goes on without this process."""
        try:
            self.renew()  # after this, it is known who waits
            with self._lock:
                waiting = list(self._waiting.values())
                self._waiting.clear()
            for entry in waiting:
                entry.refusal = "the scheduler_service that sent it was shut down"
            self._give_back(waiting)
        except SQLAlchemyError as error:
            logger.error("what waits for Dask workers could not be given back: %s", describe_outage(error))
        logger.info("draining: what runs on the Dask cluster goes on there")
        self._cluster.close()

    def _give_back(self, entries: Sequence[Waiting]) -> None:
        for entry in entries:
            self.executor.cancel(str(entry.claim.lease_token))
        with transaction(self._engine) as session:
            for entry in entries:
                # Where a worker took it over in the meantime, this token is no longer the run's, and nothing happens.
                requeue_run(
                    session,
                    entry.claim.run_id,
                    entry.claim.lease_token,
                    entry.refusal or "",
                    datetime.now(UTC),
                    is_fault=False,
                )

    def _note_end(self, token: str, reason: str | None) -> None:
        """A task ended. One that failed may not have been taken over: then it is given back with the next renewal."""
        with self._lock:
            entry = self._waiting.get(token)
            if entry is not None and reason is not None:
                entry.refusal = reason
                self._pause_until = time.monotonic() + PAUSE_SECONDS
        if entry is not None and reason is not None:
            logger.warning("run %s: no Dask worker took it: %s", entry.claim.run_id, reason)
            self._cluster.doubt()
        self._on_free()
