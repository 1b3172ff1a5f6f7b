"""How many accounts a second a run imports, against the least that can be done with aiohttp, httpx and Scrapy.

Punctual is a whole run as it is in life: a scheduler_service claims it, its processes sign in to every account, store
each bill's files, and record a result and a bill per account in Postgres; only the politeness is off (64 accounts at a
time, no spacing). The peers have the portal's fields written into them and record nothing. Everybody visits the same
two portals on loopback: the demo portal, a web application like any other, with six answers an account; and one that
takes next to no computing, with four answers and a PDF of 50 KB an account. `python -m bench.import`.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Engine, text

from bench.bill_portal import bill_portal
from bench.demo_portal import demo_portal
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


@dataclass(frozen=True)
class Setting:
    """A portal, how it is started with a delay and for so many accounts, and the peers that know their way there."""

    portal: str
    billing: str
    serve: Callable[[float, int], AbstractContextManager[str]]
    raw: str
    files_each: int
    has_other_peers: bool = False


SETTINGS = (
    Setting("the demo portal", "/billing", demo_portal, "raw_aiohttp_demo.py", 2),
    Setting("a bare portal", "/bills", lambda delay, _: bill_portal(delay), "raw_aiohttp.py", 1, has_other_peers=True),
)


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
        for setting in SETTINGS:
            for delay, accounts, least in CONDITIONS:
                name = f"import-{setting.files_each}-{accounts}"
                with setting.serve(delay, accounts) as portal, fresh_database(home, name) as engine:
                    bench = _Bench(engine, home, Path(folder), portal, accounts)
                    figures.append(bench.compare(setting, delay, least))
    return figures


@dataclass(frozen=True)
class _Bench:
    engine: Engine
    home: Path
    folder: Path
    portal: str
    accounts: int

    def compare(self, setting: Setting, delay: float, least: float) -> Figure:
        viewer, job_id = add_import_job(
            self.engine, self.portal, self.accounts, concurrent=CONCURRENT, billing=setting.billing
        )
        ours: list[float] = []
        raw: list[float] = []
        with listening_service(self.engine, self.home, slots=1):
            for _ in range(ROUNDS):
                raw.append(self._time_peer(sys.executable, setting.raw, setting.files_each))
                ours.append(self._time_run(viewer, job_id))
        rate, raw_rate = statistics.median(ours), statistics.median(raw)
        others: Mapping[str, float | None] = self._time_other_peers() if setting.has_other_peers else {}
        return Figure(
            f"import {self.accounts:,} accounts of {setting.portal}, {CONCURRENT} at once, {1000 * delay:.0f} ms each",
            "/s",
            rate,
            f">= {least:.0%} of raw aiohttp",
            rate >= least * raw_rate,
            {RAW: raw_rate, **others},
            rate / raw_rate,
        )

    def _time_run(self, viewer: Viewer, job_id: str) -> float:
        """From the first line of the run's process to the run's end; every round finds all bills new."""
        with self.engine.begin() as connection:
            connection.execute(text("TRUNCATE bills CASCADE"))
        stored = self.home / "bills"
        if stored.exists():
            stored.rename(tempfile.mkdtemp(dir=self.folder))
        run_id = start_import(self.engine, viewer, job_id)
        wait_until(lambda: has_ended(self.engine, run_id), "the run", RUN_SECONDS)
        ended = text(
            "SELECT EXTRACT(EPOCH FROM finished_at - queued_at) - lateness_seconds, accounts_succeeded, reason"
            " FROM import_runs WHERE id = :id"
        )
        with self.engine.connect() as connection:
            seconds, succeeded, reason = connection.execute(ended, {"id": run_id}).one()
            bills = connection.scalar(text("SELECT count(*) FROM bills WHERE file_url IS NOT NULL"))
        assert (succeeded, bills) == (self.accounts, self.accounts), f"{succeeded} accounts, {bills} bills: {reason}"
        return self.accounts / float(seconds)

    def _time_other_peers(self) -> Mapping[str, float | None]:
        scrapy = f"Scrapy {get_version('scrapy', 'scrapy')}"
        httpx = {f"httpx {version('httpx')}": self._time_peer(sys.executable, "raw_httpx.py", 1)}
        try:
            return httpx | {scrapy: self._time_peer(get_python("scrapy"), "scrapy_spider.py", 1)}
        except PeerUnavailableError:
            return httpx | {scrapy: None}

    def _time_peer(self, python: str, script: str, files_each: int) -> float:
        own = tempfile.mkdtemp(dir=self.folder)
        command = [python, str(PEERS / script), f"http://{self.portal}", str(self.accounts), own]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=RUN_SECONDS)  # noqa: S603
        stored = sum(1 for _ in Path(own).iterdir())
        assert stored == files_each * self.accounts, f"{script} stored {stored} files of {self.accounts} accounts"
        return float(told.stdout)


if __name__ == "__main__":
    sys.exit(main())
