"""The memory of a run's process, for few accounts and for as many as a job may have. `python -m bench.memory`.

A whole run as it is in life: a scheduler_service claims it, its process signs in to every account of a portal on
loopback, stores a bill of 50 KB each and records it in Postgres; only the politeness is off. Each job runs twice: the
second time its bills are known. What counts is the process's peak (VmHWM) just before its end.
"""

import sys
from pathlib import Path

import psutil
from sqlalchemy import Engine, text

from bench.bill_portal import bill_portal
from bench.figures import Figure, all_hold, print_figures
from bench.import_job import add_import_job, has_ended, start_import
from bench.postgres import fresh_database, fresh_server
from bench.processes import listening_service, wait_until

FEW, MANY = 500, 10_000
CONCURRENT = 16
MAX_MEGABYTES = 150
MEGABYTE = 1024 * 1024
RUN_SECONDS = 1_800


def main() -> int:
    """Measure and print."""
    figures = measure()
    print_figures(figures)
    return 0 if all_hold(figures) else 1


def measure(*, few: int = FEW, many: int = MANY) -> list[Figure]:
    """Peaks in MB, with what the few accounts take beside that of the many."""
    with fresh_server() as home, bill_portal(0) as portal:
        small, large = (_measure_job(home, portal, accounts) for accounts in (few, many))
    return [
        Figure(
            f"peak memory of a run of {many:,} accounts, {which}",
            "MB",
            peak,
            f"< {MAX_MEGABYTES} MB resident",
            peak < MAX_MEGABYTES,
            {f"{few:,} accounts": least},
            peak / least,
        )
        for which, peak, least in zip(("all bills new", "all bills known"), large, small, strict=True)
    ]


def _measure_job(home: Path, portal: str, accounts: int) -> list[float]:
    """The peaks of the job's first and second run."""
    with fresh_database(home, f"memory-{accounts}") as engine:
        viewer, job_id = add_import_job(engine, portal, accounts, concurrent=CONCURRENT)
        with listening_service(engine, home, slots=1) as service:
            return [_watch_run(engine, service, start_import(engine, viewer, job_id), accounts) for _ in range(2)]


def _watch_run(engine: Engine, service: psutil.Process, run_id: int, accounts: int) -> float:
    peak = 0

    def look() -> bool:
        nonlocal peak
        is_over = has_ended(engine, run_id)
        peak = max(peak, *(_peak_of(process) for process in _run_processes(service)), 0)
        return is_over

    wait_until(look, "the run", RUN_SECONDS)
    with engine.connect() as connection:
        counts = text("SELECT accounts_succeeded, reason FROM import_runs WHERE id = :id")
        succeeded, reason = connection.execute(counts, {"id": run_id}).one()
    assert succeeded == accounts, f"{succeeded} of {accounts} accounts: {reason}"
    assert peak, "the run's process was never seen"
    return peak / MEGABYTE


def _run_processes(service: psutil.Process) -> list[psutil.Process]:
    """What the service's fork server has forked."""
    return [process for process in service.children(recursive=True) if process.ppid() != service.pid]


def _peak_of(process: psutil.Process) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    sys.exit(main())
