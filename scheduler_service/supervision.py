"""Execute: one supervisor a run, which starts the child process, watches it and ends it.

The child finishes its run by itself. The supervisor writes an outcome only for a child that could not:
stopped, timed out, drained or crashed. Both writes are fenced by the lease, so at most one counts.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from multiprocessing.connection import wait

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.claims import Claim, finish_run, requeue_run
from db.engine import transaction
from db.models import RunStatus
from portal_import.run import EXIT_LEASE_LOST, RunOrder, run_in_child

KILL_AFTER_SECONDS = 1.0
CHILDREN = multiprocessing.get_context("forkserver")
PRELOADED = ["portal_import.run"]

logger = logging.getLogger(__name__)


class EndCause(Enum):
    """Why a supervisor ends its child."""

    STOP = "stop"
    TIMEOUT = "timeout"
    LEASE_LOST = "lease lost"
    DRAIN = "drain"


def start_fork_server() -> None:
    """Start the process that children are forked from, with all that a run imports loaded."""
    CHILDREN.set_forkserver_preload(PRELOADED)
    warm_up = CHILDREN.Process(target=_nothing, daemon=True)
    warm_up.start()
    warm_up.join()


class Supervisor:
    """Watches one claimed run from its start to its end, in a thread of the runs' executor."""

    def __init__(self, engine: Engine, claim: Claim) -> None:
        self.claim = claim
        self._engine = engine
        self._cause: EndCause | None = None
        self._nudge_reader, self._nudge_writer = os.pipe()
        self._lock = threading.Lock()

    def end(self, cause: EndCause) -> None:
        """Ask for the child to be ended; the first cause counts."""
        with self._lock:
            if self._cause is None and self._nudge_writer >= 0:
                self._cause = cause
                os.write(self._nudge_writer, b"x")

    def run(self, on_end: Callable[["Supervisor"], None]) -> None:
        """Start the child, wait for its end or for a reason to end it, and settle the run."""
        try:
            self._supervise()
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            logger.error("run %s could not be settled, its lease will run out: %s", self.claim.run_id, cause)
        finally:
            with self._lock:
                os.close(self._nudge_reader)
                os.close(self._nudge_writer)
                self._nudge_reader = self._nudge_writer = -1
            on_end(self)

    def _supervise(self) -> None:
        url = self._engine.url.render_as_string(hide_password=False)
        order = RunOrder(self.claim.run_id, self.claim.lease_token, url)
        for_child, ours = CHILDREN.Pipe(duplex=False)
        child = CHILDREN.Process(
            target=run_in_child, args=(order, for_child), name=f"run-{self.claim.run_id}", daemon=True
        )
        child.start()
        for_child.close()
        try:
            self._watch(child.sentinel)
            if child.exitcode is None and self._cause is not None:
                _end_process_group(child.pid, child.sentinel)
            child.join()
            _kill_group(child.pid)  # whatever the child itself started
        finally:
            ours.close()
        self._settle(child.exitcode)

    def _watch(self, sentinel: int) -> None:
        """Return when the child has ended or there is a cause to end it."""
        ready = wait([sentinel, _Pollable(self._nudge_reader)], timeout=self.claim.timeout_seconds)
        if not ready:
            self.end(EndCause.TIMEOUT)

    def _settle(self, exit_code: int | None) -> None:
        """Write the outcome that the child could not write; nothing when it has."""
        now = datetime.now(UTC)
        run_id, token = self.claim.run_id, self.claim.lease_token
        with transaction(self._engine) as session:
            if self._cause == EndCause.STOP:
                finish_run(session, run_id, token, RunStatus.STOPPED, "stopped on request", now)
            elif self._cause == EndCause.TIMEOUT:
                reason = f"not done within {self.claim.timeout_seconds} seconds"
                finish_run(session, run_id, token, RunStatus.TIMED_OUT, reason, now)
            elif self._cause == EndCause.DRAIN:
                requeue_run(session, run_id, token, "the scheduler was shut down", now, is_fault=False)
            elif self._cause is None and exit_code != EXIT_LEASE_LOST:
                reason = f"the import process {_explain_exit(exit_code)}"
                if requeue_run(session, run_id, token, reason, now, is_fault=True):
                    logger.error("run %s: %s", run_id, reason)


class _Pollable:
    """Lets `multiprocessing.connection.wait` watch a plain file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor


def _end_process_group(pid: int | None, sentinel: int) -> None:
    """SIGTERM, then SIGKILL for what is left a second later."""
    _signal_group(pid, signal.SIGTERM)
    if not wait([sentinel], timeout=KILL_AFTER_SECONDS):
        _kill_group(pid)


def _kill_group(pid: int | None) -> None:
    _signal_group(pid, signal.SIGKILL)


def _signal_group(pid: int | None, what: signal.Signals) -> None:
    if pid is None:
        return
    try:
        os.killpg(pid, what)
    except ProcessLookupError:
        return  # already gone


def _explain_exit(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended without a result (exit code {code})"
    name = signal.Signals(-code).name
    return f"was killed ({name})"


def _nothing() -> None:
    """Runs in the first child, only to have the fork server started."""
