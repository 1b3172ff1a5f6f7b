"""Runs in the worker processes of a Dask cluster: takes claims over and supervises them as scheduler_service does.

The worker renews the leases of its runs and watches for stop requests by itself, so they go on when the
scheduler_service that sent them is gone; and when the worker is gone, their leases run out.
"""

# pyright: reportMissingTypeArgument=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# distributed and APScheduler are typed in part only.

import asyncio
import logging
import multiprocessing
import socket
import threading
from datetime import UTC, datetime, timedelta

from distributed import Worker, WorkerPlugin, get_worker
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from db.clusters import take_over_run
from db.engine import create_database_engine, resolve_url, transaction
from db.instances import is_registered
from db.migrate import explain_connection_error
from db.worker_names import name_cluster_worker
from scheduler_service.dask_installation import find_difference
from scheduler_service.dask_orders import ClusterOrder, Installation, NotTakenOverError
from scheduler_service.held_runs import HeldRuns
from scheduler_service.outages import describe_outage
from scheduler_service.supervision import start_fork_server
from settings import InvalidSettingsError, Settings, read_settings

NAME = "punctual"
LEASE_TICK_SECONDS = 1.0
POOL_SIZE = 2
NANNY_GRACE_SECONDS = 2  # a nanny kills its worker some seconds after it asked it to end
# The parent module is the `dask` command, which every child would import anew.
PRELOADED = ["dask.__main__"]
NEEDED = {"DATABASE_URL": "database_url", "PUNCTUAL_SECRET_KEY": "secret_key", "STORAGE_URL": "storage_url"}

logger = logging.getLogger(__name__)


class UnfitWorkerError(Exception):
    """This worker cannot execute runs; the message says why."""


class Workplace(WorkerPlugin):
    """A Dask worker as an executor of runs: its database, its runs, and the thread that keeps their leases."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = create_database_engine(resolve_url(settings), application="dask worker", pool_size=POOL_SIZE)
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._held = HeldRuns(self.engine, self._lease, lambda: None)
        self._machine = socket.gethostname()
        self._is_draining = False
        self._closed = threading.Event()

    def setup(self, worker: Worker) -> None:
        """The worker has this plugin from now on."""
        self._machine = f"{socket.gethostname()} ({worker.address})"
        threading.Thread(target=self._renew_forever, name="leases", daemon=True).start()

    async def teardown(self, worker: Worker) -> None:
        """The worker was asked to end, was retired, or lost its scheduler: its runs end or go back to the queue."""
        self._is_draining = True
        grace = self.settings.drain_seconds
        await asyncio.to_thread(self._held.drain, min(grace, NANNY_GRACE_SECONDS) if worker.nanny else grace)
        self._closed.set()
        self.engine.dispose()

    def supervise(self, order: ClusterOrder) -> None:
        """Take the run over and see it through. Raises NotTakenOverError."""
        if self._is_draining:
            raise NotTakenOverError("the Dask worker was shutting down")
        held_until = self._held.lease_end()
        with transaction(self.engine) as session:
            claim = take_over_run(
                session,
                order.run_id,
                order.lease_token,
                worker=name_cluster_worker(self._machine, order.cluster),
                now=datetime.now(UTC),
                lease=self._lease,
            )
        if claim is None:
            raise NotTakenOverError("its claim was not held any more")
        self._held.hold(claim, held_until).run()

    def _renew_forever(self) -> None:
        outage: str | None = None
        while not self._closed.wait(LEASE_TICK_SECONDS):
            try:
                self._held.renew()
            except SQLAlchemyError as error:
                before, outage = outage, describe_outage(error)
                if outage != before:
                    logger.error("leases could not be renewed, will be tried again: %s", outage)
            else:
                outage = None


def supervise(order: ClusterOrder) -> None:
    """See the run through on the worker that executes this task. Raises NotTakenOverError."""
    workplace = get_worker().plugins.get(NAME)
    if not isinstance(workplace, Workplace):
        raise NotTakenOverError("the Dask worker was not prepared for runs")
    workplace.supervise(order)


_preparing = asyncio.Lock()


async def prepare(installation: Installation, worker: Worker) -> str | None:
    """Make the worker ready for runs of that installation. Why it can execute none; None when it can."""
    try:
        async with _preparing:
            known = worker.plugins.get(NAME)
            workplace = known if isinstance(known, Workplace) else await asyncio.to_thread(_set_up)
            await asyncio.to_thread(_compare, workplace, installation)
            if workplace is not known:
                await worker.plugin_add(workplace, NAME)
    except UnfitWorkerError as error:
        return str(error)
    return None


def _set_up() -> Workplace:
    if multiprocessing.current_process().daemon:
        raise UnfitWorkerError(
            "its process may not start others; start it with --no-nanny or with DASK_DISTRIBUTED__WORKER__DAEMON=False"
        )
    try:
        settings = read_settings()
    except InvalidSettingsError as error:
        raise UnfitWorkerError(str(error)) from None
    missing = [name for name, field in NEEDED.items() if getattr(settings, field) is None]
    if missing:
        raise UnfitWorkerError(f"its environment lacks {', '.join(missing)}")
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    start_fork_server(PRELOADED)
    return Workplace(settings)


def _compare(workplace: Workplace, installation: Installation) -> None:
    """Raises UnfitWorkerError when this worker belongs to another installation."""
    try:
        difference = find_difference(installation, workplace.settings)
    except InvalidSettingsError as error:
        raise UnfitWorkerError(str(error)) from None
    if difference is not None:
        raise UnfitWorkerError(difference)
    try:
        with transaction(workplace.engine) as session:
            is_ours = is_registered(session, installation.instance_id)
    except OperationalError as error:
        raise UnfitWorkerError(explain_connection_error(error, workplace.engine.url)) from None
    except SQLAlchemyError as error:
        raise UnfitWorkerError(f"its database: {describe_outage(error)}") from None
    if not is_ours:
        raise UnfitWorkerError("it has another DATABASE_URL")
