"""The runs that this process holds: their leases are renewed here, and who lost his, or is to stop, is ended.

One object a process that supervises runs. Who calls `renew`, and how often, is the process's own business.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine

from db.claiming import Claim
from db.claims import renew_leases
from db.engine import transaction
from scheduler_service.supervision import FINISH_SECONDS, EndCause, Supervisor

END_SECONDS = 5


class HeldRuns:
    """Supervisors by lease token: a run may come back while its old child ends."""

    def __init__(self, engine: Engine, lease: timedelta, on_end: Callable[[], None]) -> None:
        self._engine = engine
        self._lease = lease
        self._on_end = on_end
        self._supervisors: dict[UUID, Supervisor] = {}
        self._lock = threading.Lock()
        self._all_ended = threading.Condition(self._lock)

    def __len__(self) -> int:
        with self._lock:
            return len(self._supervisors)

    def lease_end(self) -> float:
        """When a lease that is taken or renewed from now on ends, on the monotonic clock."""
        return time.monotonic() + self._lease.total_seconds()

    def hold(self, claim: Claim, held_until: float) -> Supervisor:
        """The supervisor of a run that was claimed, to be run in a thread of its own."""
        supervisor = Supervisor(self._engine, claim, held_until=held_until, on_end=self._forget)
        with self._lock:
            self._supervisors[claim.lease_token] = supervisor
        return supervisor

    def renew(self) -> None:
        """Extend the leases; end the runs whose lease was lost and those that were asked to stop."""
        supervisors = self._list_supervisors()
        if not supervisors:
            return
        held_until = self.lease_end()
        with transaction(self._engine) as session:
            renewed = renew_leases(session, [s.claim for s in supervisors], datetime.now(UTC), self._lease)
        held = {lease.lease_token: lease for lease in renewed}
        for supervisor in supervisors:
            lease = held.get(supervisor.claim.lease_token)
            if lease is None:
                supervisor.end(EndCause.LEASE_LOST)
            elif lease.is_stop_requested:
                supervisor.end(EndCause.STOP)
            else:
                supervisor.hold_until(held_until)

    def drain(self, grace_seconds: float) -> None:
        """Return once no run is held: those that take longer go back to the queue.

        The last seconds of the grace are for the accounts that are being visited. The leases must go on being
        renewed meanwhile.
        """
        if self._wait_until_idle(max(0.0, grace_seconds - FINISH_SECONDS)):
            return
        for supervisor in self._list_supervisors():
            supervisor.end(EndCause.DRAIN)
        self._wait_until_idle(FINISH_SECONDS + END_SECONDS)

    def _list_supervisors(self) -> list[Supervisor]:
        with self._lock:
            return list(self._supervisors.values())

    def _forget(self, supervisor: Supervisor) -> None:
        with self._lock:
            self._supervisors.pop(supervisor.claim.lease_token, None)
            self._all_ended.notify_all()
        self._on_end()

    def _wait_until_idle(self, seconds: float) -> bool:
        with self._all_ended:
            return self._all_ended.wait_for(lambda: not self._supervisors, timeout=seconds)
