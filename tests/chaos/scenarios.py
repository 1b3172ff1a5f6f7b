"""What happens in the scenarios that come in two sizes: small in the test suite, at full size in `make chaos`."""

import signal
import time

from db.models import RunStatus
from tests.chaos.checker import Findings
from tests.chaos.own_postgres import FAST, IMMEDIATE, OwnPostgres
from tests.chaos.stage import Stage
from tests.chaos.witness import slow_down_firing
from tests.scheduler_process import SchedulerProcess
from tests.waiting import wait_until

SCHEDULERS = 3
KILL_EVERY_SECONDS = 1.0
VICTIM_SECONDS = 30
SLOTS = 4
OUTAGE_LEASE_SECONDS = 10
JOBS_A_RESTART = 10
FIRING_SECONDS_A_RUN = 0.05
MAX_LINES_A_RESTART = 60
RUNNING_BY_PID = """
    SELECT count(*) FROM import_runs r JOIN scheduler_instances i ON i.id = r.worker
    WHERE r.status = :running AND i.pid = :pid
"""


def kill_one_of_three_again_and_again(stage: Stage, *, occurrences: int, kills: int, seconds: float) -> Findings:
    """Every second one of three schedulers is killed that has runs under way, and another one started.

    Occurrences become due while that goes on, as many before each kill; all are imported for real.
    """
    schedulers = [stage.launch(slots=SLOTS) for _ in range(SCHEDULERS)]
    for number in range(kills):
        stage.add_due_jobs(occurrences * (number + 1) // kills - len(stage.expected))
        victim = _wait_for_victim(stage, schedulers, not_before=time.monotonic() + KILL_EVERY_SECONDS)
        victim.send(signal.SIGKILL)
        schedulers.remove(victim)
        schedulers.append(stage.launch(slots=SLOTS))
    stage.wait_for_ends(seconds)
    return stage.check()


def _wait_for_victim(stage: Stage, schedulers: list[SchedulerProcess], not_before: float) -> SchedulerProcess:
    def find() -> SchedulerProcess | None:
        busy = (s for s in schedulers if stage.query(RUNNING_BY_PID, running=RunStatus.RUNNING.value, pid=s.pid))
        return next(busy, None) if time.monotonic() >= not_before else None

    victim = wait_until(find, VICTIM_SECONDS, "a scheduler with a run under way")
    assert victim is not None
    return victim


def restart_postgres_again_and_again(stage: Stage, postgres: OwnPostgres, *, restarts: int) -> Findings:
    """Fast and immediate in turns, each while jobs are being fired and imports are running."""
    slow_down_firing(stage.engine, FIRING_SECONDS_A_RUN)
    scheduler = stage.start(slots=SLOTS, lease_seconds=OUTAGE_LEASE_SECONDS)
    for number in range(restarts):
        running_before = stage.query(STARTED)
        stage.add_due_jobs(JOBS_A_RESTART // 2, accounts=2)
        wait_until(lambda before=running_before: stage.query(STARTED) > before, VICTIM_SECONDS, "a run to start")
        stage.add_due_jobs(JOBS_A_RESTART - JOBS_A_RESTART // 2, accounts=2)  # and fired while it goes down
        postgres.stop(IMMEDIATE if number % 2 else FAST)
        postgres.start()
    stage.wait_for_ends()
    assert scheduler.process.poll() is None, scheduler.read_log()
    log = scheduler.read_log()
    assert "Traceback" not in log, log
    assert len(log.splitlines()) < MAX_LINES_A_RESTART * restarts, log
    return stage.check()


STARTED = "SELECT count(*) FROM import_runs WHERE started_at IS NOT NULL"
