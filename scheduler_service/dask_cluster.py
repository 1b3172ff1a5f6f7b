"""The Dask cluster as this process sees it: whether it is there, which workers are fit, how many threads they have."""

# pyright: reportMissingTypeArgument=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# distributed and APScheduler are typed in part only.

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from distributed import Client, Future, fire_and_forget
from distributed.client import ClosedClientError
from distributed.utils import LoopRunner

from scheduler_service.dask_orders import ClusterOrder, Installation, is_loaded, prepare_worker, supervise_on_worker

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 5.0
PREPARE_SECONDS = 20.0
LOOK_AGAIN_SECONDS = 30.0

logger = logging.getLogger(__name__)


class ClusterAwayError(Exception):
    """The Dask cluster cannot be used now."""

    def __init__(self, why: str = "the Dask cluster was away") -> None:
        super().__init__(why)


class DaskCluster:
    """`refresh`, called every second or so, looks; all else tells what it saw last."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._installation: Installation | None = None
        self._loop = LoopRunner(asynchronous=False)  # ours: a client that failed to connect would leave its own behind
        self._client: Any = None
        self._is_closed = False
        self._outage: str | None = None
        self._lock = threading.Lock()
        self._name: str | None = None
        self._readable: str | None = None  # the name of the cluster whose scheduler can read our tasks
        self._present: dict[str, int] = {}  # threads by worker
        self._fit: set[str] = set()
        self._unfit: dict[str, tuple[str, float]] = {}  # why, and when to look again
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # an outage is told here, once

    @property
    def name(self) -> str | None:
        """Which cluster it is, new with each start of Dask's scheduler; None while it is away."""
        return self._name

    @property
    def workers(self) -> frozenset[str]:
        """All workers that are there, fit or not."""
        with self._lock:
            return frozenset(self._present)

    @property
    def fit_workers(self) -> frozenset[str]:
        """Those that get runs."""
        with self._lock:
            return frozenset(self._fit)

    @property
    def threads(self) -> int:
        """How many runs the fit workers can execute at once."""
        with self._lock:
            return sum(threads for worker, threads in self._present.items() if worker in self._fit)

    def introduce(self, installation: Installation) -> None:
        """Workers are asked from now on whether they belong to it."""
        self._installation = installation

    def refresh(self) -> None:
        """Connect where needed, see who came and went, and get newcomers ready."""
        if self._is_closed:
            return
        try:
            client = self._connect()
            name = str(client.scheduler_info(n_workers=0)["id"]).rpartition("Scheduler-")[2][:8]
            if name != self._readable:
                client.sync(self._check_scheduler, client, callback_timeout=ANSWER_SECONDS)
                self._readable = name
            present = client.sync(client.scheduler.ncores_running, callback_timeout=ANSWER_SECONDS)
            self._see(name, present)
            newcomers = self._list_newcomers()
            if newcomers:
                self._note_prepared(client.sync(self._prepare, client, newcomers), newcomers)
        except (OSError, ValueError, ClosedClientError, ClusterAwayError) as error:
            self._see(None, {})
            self._note_outage(str(error) or type(error).__name__)
        else:
            self._note_outage(None)

    def doubt(self) -> None:
        """Something refused a run: get every worker ready anew before the next one."""
        with self._lock:
            self._fit.clear()

    def submit(self, order: ClusterOrder, key: str) -> Future:
        """Have a fit worker supervise that run. Raises ClusterAwayError."""
        client = self._client
        fit = sorted(self.fit_workers)
        if client is None or client.status != "running" or not fit:
            raise ClusterAwayError
        future = client.submit(supervise_on_worker, order, key=key, pure=False, workers=fit)
        fire_and_forget(future)  # so that it goes on, and Dask knows of its thread, when this process is gone
        return future

    def cancel(self, future: Future) -> None:
        """Take back what no worker has begun."""
        if self._client is not None and self._client.status == "running":
            self._client.cancel([future], force=True)

    def close(self) -> None:
        """Leave the cluster; what runs there goes on."""
        self._is_closed = True
        if self._client is not None:
            self._client.close(timeout=CONNECT_SECONDS)
        if self._loop.is_started():
            self._loop.stop()

    def _connect(self) -> Any:
        if self._client is None or self._client.status == "closed":
            self._client = None
            if not self._loop.is_started():
                self._loop.start()
            self._client = Client(
                self._address,
                timeout=CONNECT_SECONDS,
                loop=self._loop.loop,
                set_as_default=False,
                name="punctual",
            )
        if self._client.status != "running":
            raise ClusterAwayError("its connection broke")
        return self._client

    async def _check_scheduler(self, client: Any) -> None:
        try:
            await client.run_on_scheduler(is_loaded)
        except ImportError as error:
            raise ClusterAwayError(f"its scheduler cannot load Punctual: {error}") from None

    def _see(self, name: str | None, present: dict[str, int]) -> None:
        with self._lock:
            self._name = name
            for worker in self._fit - present.keys():
                logger.info("the Dask worker %s has left", worker)
            self._present = dict(present)
            self._fit &= present.keys()
            self._unfit = {worker: why for worker, why in self._unfit.items() if worker in present}

    def _list_newcomers(self) -> list[str]:
        now = time.monotonic()
        with self._lock:
            return [
                worker
                for worker in self._present
                if worker not in self._fit and (worker not in self._unfit or self._unfit[worker][1] <= now)
            ]

    async def _prepare(self, client: Any, workers: Sequence[str]) -> list[object]:
        async def prepare(worker: str) -> object:
            answer = client.run(prepare_worker, self._installation, workers=[worker], on_error="return")
            return (await asyncio.wait_for(answer, PREPARE_SECONDS)).get(worker)

        return await asyncio.gather(*(prepare(worker) for worker in workers), return_exceptions=True)

    def _note_prepared(self, answers: Sequence[object], workers: Sequence[str]) -> None:
        look_again = time.monotonic() + LOOK_AGAIN_SECONDS
        for worker, answer in zip(workers, answers, strict=True):
            with self._lock:
                known = self._unfit.pop(worker, (None, 0.0))[0]
                if answer is None:
                    self._fit.add(worker)
                    logger.info("the Dask worker %s takes part, threads: %s", worker, self._present.get(worker))
                    continue
                why = answer if isinstance(answer, str) else f"it failed to get ready ({_describe(answer)})"
                self._unfit[worker] = (why, look_again)
            if why != known:
                logger.error("the Dask worker %s gets no runs: %s", worker, why)

    def _note_outage(self, outage: str | None) -> None:
        if outage is not None and self._outage is None:
            logger.error(
                "the Dask cluster at %s is away (%s); schedules go on firing, their runs wait for it",
                self._address,
                outage,
            )
        elif outage is None and self._outage is not None:
            logger.info("the Dask cluster at %s is back", self._address)
        self._outage = outage


def _describe(answer: object) -> str:
    lines = str(answer).strip().splitlines()
    return f"{type(answer).__name__}: {lines[0]}" if lines else type(answer).__name__
