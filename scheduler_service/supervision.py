"""Execute: one supervisor a run, which starts the child process, watches it and ends it.

The child finishes its run by itself. The supervisor writes an outcome only for a child that could not:
stopped, timed out, drained or crashed. Both writes are fenced by the lease, so at most one counts.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import Enum
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.claiming import Claim
from db.claims import finish_run, requeue_run
from db.engine import transaction
from db.models import RunStatus
from portal_import.browser_folders import remove_leftovers
from portal_import.child import EXIT_CUT_SHORT, EXIT_LEASE_LOST, RunOrder, run_in_child
from scheduler_service.outages import describe_outage

FINISH_SECONDS = 5.0  # for the accounts that are being visited, before the child is killed
SIGNAL_AGAIN_SECONDS = 1.0
SETTLE_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
CUT_SHORT_CODES = (EXIT_CUT_SHORT, -signal.SIGTERM)
CHILDREN = multiprocessing.get_context("forkserver")
PRELOADED = ["scheduler_service.fork_server"]

# Starting a process also collects other threads' children; two threads reading one exit code would lose it.
_starting_or_collecting = threading.Lock()

logger = logging.getLogger(__name__)


class EndCause(Enum):
    """Why a supervisor ends its child."""

    STOP = "stop"
    TIMEOUT = "timeout"
    LEASE_LOST = "lease lost"
    DRAIN = "drain"


def start_fork_server(also_preloaded: Sequence[str] = ()) -> None:
    """Start the process that children are forked from, with all that a run imports loaded."""
    CHILDREN.set_forkserver_preload([*PRELOADED, *also_preloaded])
    warm_up = CHILDREN.Process(target=_nothing, daemon=True)
    warm_up.start()
    warm_up.join()
    warm_up.close()


class Supervisor:
    """Watches one claimed run from its start to its end, in a thread of the runs' executor."""

    def __init__(
        self, engine: Engine, claim: Claim, *, held_until: float, on_end: Callable[["Supervisor"], None]
    ) -> None:
        self.claim = claim
        self._engine = engine
        self._held_until = held_until
        self._on_end = on_end
        self._cause: EndCause | None = None
        self._obstacle: str | None = None
        self._nudge_reader = self._nudge_writer = -1  # a pipe, while there may be a child to end
        self._lock = threading.Lock()

    def end(self, cause: EndCause) -> None:
        """Ask for the child to be ended; the first cause counts."""
        with self._lock:
            if self._cause is None:
                self._cause = cause
                if self._nudge_writer >= 0:
                    os.write(self._nudge_writer, b"x")

    def hold_until(self, instant: float) -> None:
        """The lease was extended to that instant of the monotonic clock. Without that, the child is ended in time:
        by then another worker may have its run."""
        self._held_until = instant

    def run(self) -> None:
        """Start the child, wait for its end or for a reason to end it, and settle the run."""
        try:
            self._settle(self._try_to_supervise())
        finally:
            self._on_end(self)

    def _try_to_supervise(self) -> int | None:
        """As `_supervise`; None, too, when this machine has no process or no file for it to spare."""
        try:
            with self._nudges():
                return self._supervise()
        except (OSError, EOFError) as error:  # the latter when the fork server itself failed to fork
            self._obstacle = f"could not be started ({str(error) or type(error).__name__})"
            return None

    @contextmanager
    def _nudges(self) -> Generator[None]:
        with self._lock:
            self._nudge_reader, self._nudge_writer = os.pipe()
        try:
            yield
        finally:
            with self._lock:
                os.close(self._nudge_reader)
                os.close(self._nudge_writer)
                self._nudge_reader = self._nudge_writer = -1

    def _supervise(self) -> int | None:
        """See the child through; returns its exit code, None when it was not even started."""
        if self._cause is not None:
            return None
        order = RunOrder(
            self.claim.run_id, self.claim.lease_token, self._engine.url.render_as_string(hide_password=False)
        )
        for_child, ours = CHILDREN.Pipe(duplex=False)
        with ours:  # when this end closes, for whatever reason, the child ends itself
            with for_child, _starting_or_collecting:
                child = CHILDREN.Process(
                    target=run_in_child, args=(order, for_child), name=f"run-{self.claim.run_id}", daemon=True
                )
                child.start()
            self._watch(child.sentinel)
            exit_code = _end_process(child, self._finish_seconds())
        _clean_up()
        return exit_code

    def _watch(self, sentinel: int) -> None:
        """Return when the child has ended or there is a cause to end it."""
        times_out_at = time.monotonic() + self.claim.timeout_seconds
        while True:
            until = min(times_out_at, self._held_until)
            if wait([sentinel, self._nudge_reader], timeout=max(0.0, until - time.monotonic())):
                return
            if time.monotonic() >= times_out_at:
                self.end(EndCause.TIMEOUT)
            elif time.monotonic() >= self._held_until:
                logger.error("run %s: its lease could not be renewed in time", self.claim.run_id)
                self.end(EndCause.LEASE_LOST)

    def _finish_seconds(self) -> float:
        """None for who lost the lease: somebody else may be at the same accounts already."""
        return 0.0 if self._cause == EndCause.LEASE_LOST else FINISH_SECONDS

    def _settle(self, exit_code: int | None) -> None:
        """Write the outcome that the child could not write; nothing when it has."""
        for pause in SETTLE_PAUSES_SECONDS:
            try:
                self._write_outcome(exit_code, datetime.now(UTC))
            except SQLAlchemyError as error:
                logger.error("run %s could not be settled: %s", self.claim.run_id, describe_outage(error))
                time.sleep(pause)
            else:
                return
        logger.error("run %s is left to whoever finds its lease run out", self.claim.run_id)

    def _write_outcome(self, exit_code: int | None, now: datetime) -> None:
        run_id, token = self.claim.run_id, self.claim.lease_token
        with transaction(self._engine) as session:
            if self._cause == EndCause.STOP:
                finish_run(session, run_id, token, RunStatus.STOPPED, "stopped on request", now)
            elif self._cause == EndCause.TIMEOUT:
                reason = f"not done within {self.claim.timeout_seconds} seconds"
                finish_run(session, run_id, token, RunStatus.TIMED_OUT, reason, now)
            elif self._cause == EndCause.DRAIN or (self._cause is None and exit_code in CUT_SHORT_CODES):
                # A SIGTERM of somebody else's: systemd, for one, sends it to the children as well.
                requeue_run(session, run_id, token, "its worker was shut down", now, is_fault=False)
            elif self._cause is None and exit_code != EXIT_LEASE_LOST:
                reason = f"the import process {self._obstacle or _explain_exit(exit_code)}"
                if requeue_run(session, run_id, token, reason, now, is_fault=True):
                    logger.error("run %s: %s", run_id, reason)


def _end_process(child: BaseProcess, finish_seconds: float) -> int | None:
    """End the child and all that it started; returns its exit code.

    SIGTERM lets it finish the accounts that it is at, for as long as it may; then comes SIGKILL.
    """
    killed_at = time.monotonic() + finish_seconds
    is_over = bool(wait([child.sentinel], timeout=0))
    while not is_over:
        left = killed_at - time.monotonic()
        if left > 0 and child.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)  # not to the group: a browser that it started is still needed
        else:
            _kill_group(child)
        is_over = bool(wait([child.sentinel], timeout=min(left, SIGNAL_AGAIN_SECONDS) if left > 0 else 1.0))
    with _starting_or_collecting:
        child.join()
        exit_code = child.exitcode
    if child.pid is not None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.close()
    return exit_code


def _clean_up() -> None:
    """End the browser of a child that could not do so itself: a browser is in no group of ours."""
    try:
        remove_leftovers()
    except OSError as error:
        logger.error("what browsers left behind could not be removed: %s", error)


def _kill_group(child: BaseProcess) -> None:
    """Kill the child's process group, or the child where it has not made its group yet."""
    if child.pid is None:
        return
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)


def _explain_exit(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended without a result (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed ({name})"


def _nothing() -> None:
    """Runs in the first child, only to have the fork server started."""
