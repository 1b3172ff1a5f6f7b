"""Slots: where the runs that scheduler_service claims are executed, and how many more fit there now."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from apscheduler.executors.base import BaseExecutor  # pyright: ignore[reportMissingTypeStubs]
from apscheduler.executors.pool import ThreadPoolExecutor  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.claiming import Claim
from scheduler_service.clock import Clock
from scheduler_service.held_runs import HeldRuns
from scheduler_service.supervision import start_fork_server
from settings import Settings

logger = logging.getLogger(__name__)


class Slots(Protocol):
    """What the service needs of the place where runs are executed."""

    @property
    def executor(self) -> BaseExecutor:
        """The clock's executor for runs."""
        ...

    @property
    def size(self) -> int:
        """How many runs can be executed at once now."""
        ...

    def start(self, clock: Clock, instance_id: str) -> None:
        """Get ready to execute, in the name of that instance."""
        ...

    def get_worker(self) -> str:
        """Who claims, as runs name their worker."""
        ...

    @property
    def are_taken(self) -> bool:
        """Whether none is free, as far as this process can tell by itself; when one becomes free it says so."""
        ...

    def count_free(self, session: Session) -> int:
        """How many more runs fit. What is claimed in the same transaction is not counted by anybody else."""
        ...

    def execute(self, claims: Sequence[Claim], held_until: float) -> None:
        """Have these runs executed, which were claimed with a lease until that instant of the monotonic clock."""
        ...

    def renew(self) -> None:
        """Keep the leases of the runs that this process answers for, and see who is to stop."""
        ...

    def drain(self, grace_seconds: float) -> None:
        """Return once no run needs this process any more."""
        ...


class LocalSlots:
    """Child processes of this machine, each with a supervisor in a thread of this process."""

    def __init__(self, engine: Engine, settings: Settings, on_free: Callable[[], None]) -> None:
        self.size = settings.slots
        self._held = HeldRuns(engine, timedelta(seconds=settings.lease_seconds), on_free)
        self._clock: Clock | None = None
        self._instance_id = ""
        self.executor: BaseExecutor = ThreadPoolExecutor(max(1, settings.slots))

    def start(self, clock: Clock, instance_id: str) -> None:
        """Start the fork server, unless nothing is to be executed."""
        self._clock = clock
        self._instance_id = instance_id
        if self.size:
            start_fork_server()

    def get_worker(self) -> str:
        """The instance itself."""
        return self._instance_id

    @property
    def are_taken(self) -> bool:
        """Whether all slots have a run, or there are none."""
        return len(self._held) >= self.size

    def count_free(self, session: Session) -> int:
        """The slots without a run."""
        return self.size - len(self._held)

    def execute(self, claims: Sequence[Claim], held_until: float) -> None:
        """Supervise each run in a thread."""
        assert self._clock is not None, "not started"
        for claim in claims:
            self._clock.run_in_slot(self._held.hold(claim, held_until).run)

    def renew(self) -> None:
        """Keep all leases."""
        self._held.renew()

    def drain(self, grace_seconds: float) -> None:
        """Give running children their grace, then return their runs to the queue."""
        logger.info("draining: waiting up to %s s for running imports", grace_seconds)
        self._held.drain(grace_seconds)
