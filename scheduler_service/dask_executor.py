"""An APScheduler executor over `distributed`: its jobs are tasks of a Dask cluster."""

# pyright: reportMissingTypeArgument=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# distributed and APScheduler are typed in part only.

import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent  # pyright: ignore[reportMissingTypeStubs]
from apscheduler.executors.base import BaseExecutor  # pyright: ignore[reportMissingTypeStubs]
from distributed import Future
from distributed.client import ClosedClientError

from scheduler_service.dask_cluster import ClusterAwayError, DaskCluster


class DaskExecutor(BaseExecutor):
    """Submits each job's order under the job's id; tells how each ended, None being well."""

    def __init__(self, cluster: DaskCluster, on_end: Callable[[str, str | None], None]) -> None:
        super().__init__()
        self._cluster = cluster
        self._on_end = on_end
        self._futures: dict[str, Future] = {}
        self._futures_lock = threading.Lock()

    def cancel(self, job_id: str) -> None:
        """Take a task back, unless a worker has begun it."""
        with self._futures_lock:
            future = self._futures.pop(job_id, None)
        if future is not None:
            self._cluster.cancel(future)

    def submit_job(self, job: Any, run_times: list[datetime]) -> None:
        """Submit it; where the cluster takes none, this is its end."""
        try:
            super().submit_job(job, run_times)
        except (ClusterAwayError, ClosedClientError) as error:
            self._instances.pop(job.id, None)  # APScheduler has begun to count it, and would for ever
            self._on_end(job.id, str(error))

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        future = self._cluster.submit(*job.args, key=job.id)
        with self._futures_lock:
            self._futures[job.id] = future
        future.add_done_callback(partial(self._end, job.id, run_times[0]))

    def _end(self, job_id: str, run_time: datetime, future: Future) -> None:
        with self._futures_lock:
            self._futures.pop(job_id, None)
        if future.status == "finished":
            self._note(job_id, run_time, None)
        elif future.status == "error":
            self._note(job_id, run_time, str(future.exception()))
        else:
            self._note(job_id, run_time, "the connection to the Dask cluster broke")

    def _note(self, job_id: str, run_time: datetime, reason: str | None) -> None:
        event = JobExecutionEvent(EVENT_JOB_EXECUTED, job_id, "default", run_time)
        if reason is not None:
            event = JobExecutionEvent(EVENT_JOB_ERROR, job_id, "default", run_time, exception=RuntimeError(reason))
        self._run_job_success(job_id, [event])
        self._on_end(job_id, reason)
