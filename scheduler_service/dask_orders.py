"""What scheduler_service and the workers of a Dask cluster tell each other.

Dask's own scheduler loads this module too, so it imports little. No secret is among it: a worker has the database,
the key and the storage from its own environment, and the marks are keyed hashes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from distributed import Worker


@dataclass(frozen=True)
class ClusterOrder:
    """A claimed run, for a worker of that cluster to take over."""

    run_id: int
    lease_token: UUID
    cluster: str


@dataclass(frozen=True)
class Installation:
    """What a worker must have in common with the scheduler_service instance that sends it runs."""

    instance_id: str
    version: str
    key_mark: str
    storage_mark: str


def is_loaded() -> bool:
    """Whether whoever calls this can load this module. Dask's scheduler must: it reads every task that it passes on."""
    return True


class NotTakenOverError(Exception):
    """A worker did not take a run over; the message says why."""


def supervise_on_worker(order: ClusterOrder) -> None:
    """The task: see a run through on a worker. Raises NotTakenOverError."""
    from scheduler_service.dask_worker import supervise

    supervise(order)


async def prepare_worker(installation: Installation, dask_worker: "Worker") -> str | None:
    """Make a worker ready for runs. Why it can execute none; None when it can."""
    from scheduler_service.dask_worker import prepare

    return await prepare(installation, dask_worker)
