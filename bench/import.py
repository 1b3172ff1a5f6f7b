"""How many accounts a second a run imports, against the least that can be done with aiohttp, httpx and Scrapy.

Punctual is a whole run as it is in life: a scheduler_service claims it, its process signs in to every account, stores
each bill's file, and records a result and a bill per account in Postgres; only the politeness is off (64 accounts at a
time, no spacing). The peers have this portal's fields written into them and record nothing. Everybody visits the same
portal on loopback: four answers and a PDF of 50 KB an account. `python -m bench.import`.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Engine, text

from bench.bill_portal import bill_portal
from bench.figures import Figure, all_hold, print_figures
from bench.import_job import add_import_job, has_ended, start_import
from bench.peer_environments import PeerUnavailableError, get_python, get_version
from bench.postgres import fresh_database, fresh_server
from bench.processes import listening_service, wait_until
from db.viewers import Viewer

CONCURRENT = 64
ROUNDS = 3
# Delay of each answer in seconds, accounts, least share of raw aiohttp.
CONDITIONS = ((0.1, 500, 0.8), (0.0, 1_000, 0.4))
PEERS = Path(__file__).parent / "peers"
RUN_SECONDS = 300
RAW = f"raw aiohttp {version('aiohttp')}"


def main() -> int:
    """Measure and print."""
    figures = measure()
    print_figures(figures)
    return 0 if all_hold(figures) else 1


def measure() -> list[Figure]:
    """Accounts a second in each condition; medians of three rounds in which all take turns."""
    figures: list[Figure] = []
    # Nobody's files are removed before the end: ext4 looks twice at what was removed within the last minute, and
    # whoever writes files next pays for it.
    with fresh_server() as home, tempfile.TemporaryDirectory(prefix="punctual-bench-") as folder:
        for delay, accounts, least in CONDITIONS:
            with bill_portal(delay) as portal, fresh_database(home, f"import-{accounts}") as engine:
                figures.append(_compare(engine, home, Path(folder), portal, delay, accounts, least))
    return figures


def _compare(
    engine: Engine, home: Path, folder: Path, portal: str, delay: float, accounts: int, least: float
) -> Figure:
    viewer, job_id = add_import_job(engine, portal, accounts, concurrent=CONCURRENT)
    ours: list[float] = []
    raw: list[float] = []
    with listening_service(engine, home, slots=1):
        for _ in range(ROUNDS):
            raw.append(_time_peer(sys.executable, "raw_aiohttp.py", portal, accounts, folder))
            ours.append(_time_run(engine, viewer, job_id, accounts))
    rate, raw_rate = statistics.median(ours), statistics.median(raw)
    peers: Mapping[str, float | None] = {
        RAW: raw_rate,
        f"httpx {version('httpx')}": _time_peer(sys.executable, "raw_httpx.py", portal, accounts, folder),
        **_time_scrapy(portal, accounts, folder),
    }
    return Figure(
        f"import {accounts:,} accounts, {CONCURRENT} at once, {delay * 1000:.0f} ms an answer",
        "/s",
        rate,
        f">= {least:.0%} of raw aiohttp",
        rate >= least * raw_rate,
        peers,
        rate / raw_rate,
    )


def _time_run(engine: Engine, viewer: Viewer, job_id: str, accounts: int) -> float:
    """From the first line of the run's process to the run's end; every round finds all bills new."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE bills CASCADE"))
    run_id = start_import(engine, viewer, job_id)
    wait_until(lambda: has_ended(engine, run_id), "the run", RUN_SECONDS)
    ended = text(
        "SELECT EXTRACT(EPOCH FROM finished_at - queued_at) - lateness_seconds, accounts_succeeded, reason"
        " FROM import_runs WHERE id = :id"
    )
    with engine.connect() as connection:
        seconds, succeeded, reason = connection.execute(ended, {"id": run_id}).one()
        bills = connection.scalar(text("SELECT count(*) FROM bills WHERE file_url IS NOT NULL"))
    assert (succeeded, bills) == (accounts, accounts), f"{succeeded} accounts, {bills} bills: {reason}"
    return accounts / float(seconds)


def _time_peer(python: str, script: str, portal: str, accounts: int, folder: Path) -> float:
    own = tempfile.mkdtemp(dir=folder)
    command = [python, str(PEERS / script), f"http://{portal}", str(accounts), own]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=RUN_SECONDS)  # noqa: S603
    stored = sum(1 for _ in Path(own).iterdir())
    assert stored == accounts, f"{script} stored {stored} of {accounts} bills"
    return float(told.stdout)


def _time_scrapy(portal: str, accounts: int, folder: Path) -> dict[str, float | None]:
    name = f"Scrapy {get_version('scrapy', 'scrapy')}"
    try:
        return {name: _time_peer(get_python("scrapy"), "scrapy_spider.py", portal, accounts, folder)}
    except PeerUnavailableError:
        return {name: None}


if __name__ == "__main__":
    sys.exit(main())
